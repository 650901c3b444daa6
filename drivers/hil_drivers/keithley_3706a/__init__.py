"""Keithley 3706A system switch with matrix cards, TSP."""

from __future__ import annotations

from typing import ClassVar

from hil_drivers.tsp_matrix import TspMatrix

__all__ = ["Keithley3706A"]


class Keithley3706A(TspMatrix):
    """Keithley 3706A with matrix cards (3730: 6 x 16); crosspoints like ``1105`` = SRCC.

    Slot, row, two-digit column; ``S9BR`` is backplane relay R of bank B (3700AS-901-01 rev. D p.
    5-11, 11-48). Reed relays of the 3730 need about 4 ms; break before make is set (p. 11-48).
    Limits of voltage and current are those of the cards.
    """

    driver: ClassVar[str] = "keithley-3706a"
    models: ClassVar[str] = r"370[678]A?(-S|-SNFP|-NFP)?"
    crosspoint_pattern: ClassVar[str] = r"[1-6][0-9]{3}"
    settle_s: ClassVar[float] = 4e-3
