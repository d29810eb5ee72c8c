"""Everything that is a function of its input events: no clock, no thread, no socket, no device."""
