"""Drivers: transports, instruments and the rig."""
