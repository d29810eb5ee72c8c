"""Everything that touches the world: devices, files, clocks, processes, Ray, engines."""

__version__ = "0.1.0"
