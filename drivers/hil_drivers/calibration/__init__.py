"""Calibration and contact checks of a rig."""
