"""The controller: arrays as matrices, phases, learning in the loop."""
