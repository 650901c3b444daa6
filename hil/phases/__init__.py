"""Compile reads, writes and the learning phases to pulse blocks."""
