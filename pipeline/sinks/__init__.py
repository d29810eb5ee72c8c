"""Where decisions go. One file each; named in a config by `use: module:Class`."""
