"""Compiled loops of the simulated array; every module here is imported on first use only."""
