"""Pulse protocols: schema, loader and the shipped library."""
