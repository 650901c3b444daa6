"""Keysight/Agilent B2900A source/measure units, SCPI."""

from hil_drivers.keysight_b2900.driver import KeysightB2900

__all__ = ["KeysightB2900"]
