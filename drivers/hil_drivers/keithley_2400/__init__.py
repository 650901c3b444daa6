"""Keithley 2400 family SourceMeters, SCPI list sweeps."""

from hil_drivers.keithley_2400.driver import Keithley2400

__all__ = ["Keithley2400"]
