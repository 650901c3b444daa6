"""Maps of arrays: conductance before, after, wanted; what every device has received."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.report.devices import DeviceMaps, Floats
from hil.report.outcome import Outcome, has
from hil.report.recorded import Recorded

#: Outcome arrays that show an array before and after, the first that is there counts.
_BEFORE: Final = ("g_start_siemens",)
_AFTER: Final = ("g_final_siemens", "g_after_siemens", "g_last_siemens")


@dataclass(frozen=True, eq=False)
class ArrayMaps:
    """Conductances of one array, each (n_rows, n_cols) in siemens, NaN = not known; None = none."""

    array: str
    before: Floats | None = None
    after: Floats | None = None
    target: Floats | None = None

    @property
    def error(self) -> Floats | None:
        """After minus target."""
        if self.after is None or self.target is None:
            return None
        return self.after - self.target


@dataclass(frozen=True, eq=False)
class Exposure:
    """What the devices of one array have received, each (n_rows, n_cols).

    Attributes:
        array: its name.
        counts: pulses by class, in words.
        stress: cumulated stress, by its name in words with the unit.
        from_ledger: counted by the ledger; otherwise summed up from the rows recorded.
    """

    array: str
    counts: dict[str, NDArray[Any]] = field(default_factory=dict)
    stress: dict[tuple[str, str], Floats] = field(default_factory=dict)
    from_ledger: bool = True


def array_maps(
    array: str, outcome: Outcome, rows: DeviceMaps | None, ledger: Outcome
) -> ArrayMaps | None:
    """Return the maps of an array, from the outcome, the pulse rows and the ledger in this order.

    None where no conductance is known at all.
    """
    before = _first(outcome, _BEFORE)
    after = _first(outcome, _AFTER)
    target = _first(outcome, ("target_siemens",))
    if before is None and after is not None:
        before = _first_of_curve(outcome, after.shape)
    if rows is not None:
        before = rows.first_siemens if before is None else before
        after = rows.last_siemens if after is None and not ledger else after
    if after is None and has(ledger, "g_last_siemens"):
        after = ledger["g_last_siemens"]
    if before is not None and after is not None and np.array_equal(before, after, equal_nan=True):
        before = None  # nothing was driven that changes it
    maps = ArrayMaps(array, _known(before), _known(after), _known(target))
    return None if maps.before is None and maps.after is None else maps


def ledger_of(recorded: Recorded, array: str) -> Outcome:
    """Return the ledger's arrays of ``array``; empty when the run ended without one."""
    return recorded.checkpoint(f"ledger-{array}") or (
        recorded.checkpoint("ledger") if array in own_array(recorded) else {}
    )


def own_array(recorded: Recorded) -> tuple[str, ...]:
    """Return the array of a protocol run; empty for runs on all arrays."""
    array = recorded.meta.get("array")
    return (str(array),) if array is not None else ()


def exposure(array: str, ledger: Outcome, rows: DeviceMaps | None) -> Exposure | None:
    """Return what the devices received, by the ledger, or by the rows where there is none."""
    if has(ledger, "selected_plus", "selected_minus"):
        return Exposure(array, _counts(ledger), _stress(ledger))
    if rows is None:
        return None
    counts = {"selected, +": rows.plus, "selected, −": rows.minus}
    return Exposure(array, counts, {("time under write pulses", "s"): rows.stress_s}, False)


def _counts(ledger: Outcome) -> dict[str, NDArray[Any]]:
    plus, minus = (ledger[n].astype(np.int64) for n in ("selected_plus", "selected_minus"))
    counts = {"selected, +": plus, "selected, −": minus}
    if has(ledger, "half_selected"):
        counts["half-selected"] = ledger["half_selected"]
    if has(ledger, "reads"):
        counts["read"] = ledger["reads"]
    return {name: values for name, values in counts.items() if values.any()}


def _stress(ledger: Outcome) -> dict[tuple[str, str], Floats]:
    named = {("time under write pulses", "s"): "stress_s", ("energy", "J"): "energy_joule"}
    found = {what: ledger[name] for what, name in named.items() if has(ledger, name)}
    return {what: values for what, values in found.items() if np.nan_to_num(values).any()}


def _first(outcome: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> Floats | None:
    for name in names:
        if has(outcome, name) and outcome[name].ndim == 2:
            return outcome[name]
    return None


def _first_of_curve(outcome: Outcome, shape: tuple[int, ...]) -> Floats | None:
    """Return the first point of a conductance curve as a map."""
    if not has(outcome, "g_siemens", "row", "col") or len(outcome["g_siemens"]) < 2:
        return None
    first = np.full(shape, np.nan)
    first[outcome["row"], outcome["col"]] = outcome["g_siemens"][0]
    return first


def _known(values: Floats | None) -> Floats | None:
    return None if values is None or not np.isfinite(values).any() else values
