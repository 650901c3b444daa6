"""Keithley 2600A/2600B SourceMeters, TSP."""

from hil_drivers.keithley_2600b.driver import Keithley2600B

__all__ = ["Keithley2600B"]
