"""What the commands do, one file each. Imported only when the command runs: `sensorium --help` must not wait for media libraries."""
