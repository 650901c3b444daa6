"""How conductances are spread over the devices of an array, as one line of text per array."""

from __future__ import annotations

import numpy as np

from hil.record import Run
from hil.report.devices import Floats, device_rows
from hil.report.maps import array_maps, ledger_of, own_array
from hil.report.recorded import Recorded
from hil.report.sparkline import WIDTH, Trend, sparkline
from hil.report.text import quantity


def conductance_spreads(run: Run, width: int = WIDTH) -> list[Trend]:
    """Return a histogram of the conductances last read, one per array with two or more devices.

    Bars from the least to the largest conductance, linear. Of a run that ended without a ledger the
    rows say it, per layer.
    """
    recorded = Recorded(run)
    own = own_array(recorded)
    outcome = recorded.checkpoint("outcome") if own else {}
    last: dict[str, Floats] = {}
    for name in own or recorded.arrays:
        maps = array_maps(name, outcome, None, ledger_of(recorded, name))
        if maps is not None and maps.after is not None:
            last[name] = maps.after
    if not last:
        rows = device_rows(recorded).maps
        last = {f"layer {layer}": maps.last_siemens for layer, maps in rows.items()}
    spreads = []
    for name, g_siemens in last.items():
        known = g_siemens[np.isfinite(g_siemens)]
        if known.size < 2:
            continue
        counts, edges = np.histogram(known, bins=width)
        ends = " … ".join(quantity(float(edge), "S", 3) for edge in (edges[0], edges[-1]))
        of = f" {name}" if len(last) > 1 else ""
        spreads.append(Trend(f"conductance{of}", sparkline(counts, width, low=0.0), ends))
    return spreads
