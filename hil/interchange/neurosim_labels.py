"""NeuroSim's nonlinearity labels: the range and the grid of its table, and their spread."""

from __future__ import annotations

from typing import Final

from hil_sim.models.conversions import label_of_nu

#: Labels in NeuroSim's table; it cuts them to two decimals.
LABELS: Final = (0.01, 9.0)


def cut(label: float) -> float:
    """Return the size of a label as NeuroSim looks it up."""
    return int(abs(label) * 100) / 100


def label_weight(nus: list[float]) -> float:
    """Return the mean over the branches of ν·dNL/dν: label spread per relative spread of ν."""
    h = 1e-4
    slopes = [
        abs(label_of_nu(nu * (1 + h)) - label_of_nu(nu * (1 - h))) / (2 * h) if nu else 0.0
        for nu in nus
    ]
    return sum(slopes) / len(slopes)
