"""Conversions between the nonlinearity labels of other simulators and ν.

NeuroSim's label has a closed form: ``NL = max_x |f(x) − x| / (0.07·√2)`` with the normalised curve
``f(x) = (1 − e^{−νx})/(1 − e^{−ν})``, the perpendicular distance to the diagonal over 0.07. Its
parameter A (normalised to the number of pulses) is 1/ν.

NeuroSim gives depression the opposite sign: a label of −4.88 is a curve that falls fast and then
saturates, which here is a positive ν of the depression branch.
"""

from __future__ import annotations

import math
from typing import Final

_UNIT: Final = 0.07 * math.sqrt(2.0)
#: NL of an infinite ν; labels approach it.
LARGEST_LABEL: Final = 1.0 / _UNIT
_FLAT = 1e-6


def label_of_nu(nu: float) -> float:
    """Return NeuroSim's nonlinearity label of a potentiation curve with nonlinearity ``nu``.

    The sign of the label is the sign of ν.
    """
    size = abs(nu)
    if size < _FLAT:
        return nu / 8.0 / _UNIT
    x = math.log(size / -math.expm1(-size)) / size  # where the slope of f is 1
    deviation = math.expm1(-size * x) / math.expm1(-size) - x
    return math.copysign(deviation / _UNIT, nu)


def nu_of_label(label: float, *, depression: bool = False) -> float:
    """Return ν of a NeuroSim label; ``depression`` turns NeuroSim's sign of LTD labels.

    Raises:
        ValueError: no curve has this label.
    """
    if not abs(label) < LARGEST_LABEL * 0.99:
        raise ValueError(
            f"no curve has the nonlinearity label {label:g}; limit {LARGEST_LABEL:.4g}"
        )
    if depression:
        label = -label
    if label == 0.0:
        return 0.0
    from scipy.optimize import brentq

    size = brentq(lambda nu: label_of_nu(nu) - abs(label), 0.0, 1e4, xtol=1e-13, rtol=1e-14)
    return math.copysign(float(size), label)


def nu_of_a(a: float, pulses: int) -> float:
    """Return ν of NeuroSim's parameter A in pulses (``G = B(1 − e^{−P/A}) + G_min``)."""
    return pulses / a
