"""Simulated arrays: device models, read-out and the simulated backend."""
