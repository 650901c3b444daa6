"""Keithley 707B and 708B switching matrices, TSP."""

from __future__ import annotations

from typing import ClassVar

from hil_drivers.tsp_matrix import TspMatrix

__all__ = ["Keithley707B"]


class Keithley707B(TspMatrix):
    """Keithley 707B (six slots) or 708B (one) with 8 x 12 matrix cards; crosspoints like ``1A01``.

    Slot 1 … 6, row A … H (instrument side), column 01 … 12 (707B-901-01 rev. A p. 2-89 and 5-6).
    Reed relays need about 4 ms for each closure, one after the other with sequential connection;
    break before make is the default and is set (p. 7-21: make before break can weld the relays).
    Limits of voltage and current are those of the cards.
    """

    driver: ClassVar[str] = "keithley-707b"
    models: ClassVar[str] = r"70[78]B"
    crosspoint_pattern: ClassVar[str] = r"[1-6][A-H](0[1-9]|1[0-2])"
    settle_s: ClassVar[float] = 4e-3
