"""The daemon's HTTP API: a process of its own, fed by the supervisor over its stdin, which it may lose at any time without harm."""
