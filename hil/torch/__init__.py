"""Torch layers on synapse arrays."""
