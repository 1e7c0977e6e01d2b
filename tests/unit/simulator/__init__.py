"""The pure parts of the simulator."""
