"""Keithley 2450, 2460, 2461 and 2470 SourceMeters, SCPI."""

from hil_drivers.keithley_2450.driver import Keithley2450

__all__ = ["Keithley2450"]
