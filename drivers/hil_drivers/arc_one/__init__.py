"""ArC ONE, the array board of ArC Instruments: driver and lowering."""

from hil_drivers.arc_one.backend import ArcOne

__all__ = ["ArcOne"]
