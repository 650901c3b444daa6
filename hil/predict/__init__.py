"""Predict what a fitted device is worth: accuracy, pulses, energy, time on a rig, and figures."""
