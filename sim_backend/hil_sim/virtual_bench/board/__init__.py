"""The emulated array board: the framed serial protocol in front of the simulated array."""
