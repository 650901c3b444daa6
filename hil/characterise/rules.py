"""Stop rules: which devices a part leaves out of the later ones, judged by what it recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.characterise.cells import Cell
from hil.characterise.suite import StopTable
from hil.errors import StoreError
from hil.measurement import Status
from hil.operating import OperatingPoint
from hil.record.characterisation import LeftOut
from hil.record.reader import Run
from hil.units import format_quantity

Floats = NDArray[np.float64]
#: The kind that drives every device up and down with many pulses; others may move it little.
FULL_SWING: Final = "ltp-ltd"
_LOW, _HIGH = 10.0, 90.0  # percentiles between which a device is seen to move


class Judge:
    """Holds the recorded part against the rules.

    Args:
        rules: of the suite.
        op: the array's operating point; its conductance window is the measure.
    """

    def __init__(self, rules: StopTable, op: OperatingPoint) -> None:
        self._rules = rules
        self._g_min, self._g_max = op.g_min_siemens, op.g_max_siemens

    @property
    def has_window(self) -> bool:
        """Whether the operating point says between which conductances the devices work."""
        return self._g_max > self._g_min

    def described(self) -> list[str]:
        """Return the rules in lines."""
        rules = self._rules
        lines = [
            f"compliance: {rules.compliance} pulses or reads of one part at the current limit",
            f"out of range: more than {rules.unread:.0%} of its readings gave no number",
        ]
        if not self.has_window:
            return [*lines, "the station's [drive] has no g_min and g_max: the rules `stuck` and "
                    "the conductance's range are not applied"]  # fmt: skip
        low, high = self._range()
        lines[1] += (
            f", or most are outside {format_quantity(low, 'S')} … {format_quantity(high, 'S')}"
        )
        if rules.stuck:
            lines.append(
                f"stuck: moves by less than {rules.stuck:.0%} of the window over {FULL_SWING}"
            )
        return lines

    def left_out(
        self, part: str, kind: str, run: Run, cells: Iterable[Cell],
        trips: NDArray[np.int64] | None = None,
    ) -> list[LeftOut]:  # fmt: skip
        """Return which of ``cells`` trip a rule in a run of ``part``; the first rule counts.

        ``trips``: (n_rows, n_cols) writing steps at the current limit that the backend counted.
        """
        wanted = set(cells)
        limited = limited_pulses(run)
        if trips is not None:
            for row, col in np.argwhere(trips > 0):
                cell = int(row), int(col)
                limited[cell] = max(limited.get(cell, 0), int(trips[cell]))
        out: dict[Cell, LeftOut] = {}
        for cell, count in sorted(limited.items()):
            if cell in wanted and count >= self._rules.compliance:
                reason = f"{count} pulses or reads at the current limit"
                out[cell] = LeftOut(*cell, part, "compliance", reason)
        for cell, g in conductances(run).items():
            if cell in wanted and cell not in out:
                found = self._out_of_range(g) or self._stuck(kind, g)
                if found is not None:
                    out[cell] = LeftOut(*cell, part, *found)
        return [out[cell] for cell in sorted(out)]

    def _range(self) -> tuple[float, float]:
        return self._g_min / self._rules.range_factor, self._g_max * self._rules.range_factor

    def _out_of_range(self, g: Floats) -> tuple[str, str] | None:
        known = g[np.isfinite(g)]
        if g.size and 1.0 - known.size / g.size > self._rules.unread:
            return "out-of-range", f"{g.size - known.size} of {g.size} readings gave no number"
        if not self.has_window or not known.size:
            return None
        low, high = self._range()
        outside = (known < low) | (known > high)
        if 2 * outside.sum() <= known.size:
            return None
        middle = format_quantity(float(np.median(known)), "S")
        return "out-of-range", f"{outside.sum()} of {known.size} readings outside, median {middle}"

    def _stuck(self, kind: str, g: Floats) -> tuple[str, str] | None:
        known = g[np.isfinite(g)]
        if kind != FULL_SWING or not self.has_window or known.size < 3:
            return None
        low, high = np.percentile(known, (_LOW, _HIGH))
        share = float(high - low) / (self._g_max - self._g_min)
        if share >= self._rules.stuck:
            return None
        at = format_quantity(float(np.median(known)), "S")
        return "stuck", f"moved by {share:.2%} of the window, at {at}"


def limited_pulses(run: Run) -> dict[Cell, int]:
    """Return the rows of pulses of every device that met the current limit, where there are any."""
    counts: dict[Cell, int] = {}
    for batch in run.batches("pulses"):
        status = batch.column("status").to_numpy()
        hit = (status & np.uint32(Status.I_COMPLIANCE)) != 0
        if not hit.any():
            continue
        rows, cols = (batch.column(n).to_numpy()[hit] for n in ("row", "col"))
        for row, col in zip(rows.tolist(), cols.tolist(), strict=True):
            counts[row, col] = counts.get((row, col), 0) + 1
    return counts


def conductances(run: Run) -> dict[Cell, Floats]:
    """Return the conductances that the outcome keeps of every device, in siemens.

    Of forming and write-verify it is the last one; a sweep and a run that was cut short give none.
    """
    outcome = _outcome(run)
    if "g_siemens" in outcome and "row" in outcome:
        g = np.asarray(outcome["g_siemens"], dtype=np.float64)
        rows, cols = outcome["row"].tolist(), outcome["col"].tolist()
        return {(r, c): g[:, k] for k, (r, c) in enumerate(zip(rows, cols, strict=True))}
    final = outcome.get("g_final_siemens")
    if final is None or final.ndim != 2:
        return {}
    return {(r, c): np.array([final[r, c]]) for r, c in np.argwhere(np.isfinite(final)).tolist()}


def _outcome(run: Run) -> dict[str, NDArray[Any]]:
    for checkpoint in reversed(run.checkpoints):
        if checkpoint.name == "outcome":
            try:
                return dict(checkpoint.load())
            except StoreError:
                return {}
    return {}
