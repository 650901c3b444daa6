"""Data sets: the shipped digits, MNIST from its four IDX files, a user's own arrays."""
