"""From recorded pulse responses to the parameters of the simulator's device models."""
