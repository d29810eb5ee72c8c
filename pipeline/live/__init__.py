"""What all live sources have in common: a connection kept up for ever, stamps on the session's clock, promises while nothing comes."""
