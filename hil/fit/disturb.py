"""What half-selection does to devices, as far as it was watched."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hil.fit.measured import Measured


def half_selected(measured: Measured) -> Literal["", "still", "moved"]:
    """Return what half-selected devices did; "" where none was watched.

    Each counts with its last reading less its first; they moved where the mean of that is above
    three standard errors and 1 % of the conductances that the pulse responses span.
    """
    r = measured.responses
    window = float(np.ptp(r.after_siemens[r.good])) if r.good.any() else 0.0
    found: Literal["", "still"] = ""
    for d in measured.disturbs:
        if d.kind != "half-select" or not d.half_selected.any():
            continue
        found = "still"
        own = np.flatnonzero(d.half_selected)
        order = own[np.lexsort((d.pulses[own], d.device[own]))]
        _, first = np.unique(d.device[order], return_index=True)
        last = np.append(first[1:], order.size) - 1
        moved = d.g_siemens[order[last]] - d.g_siemens[order[first]]
        error = float(moved.std(ddof=1)) / np.sqrt(moved.size) if moved.size > 1 else 0.0
        if abs(float(moved.mean())) > max(3.0 * error, 0.01 * window):
            return "moved"
    return found
