"""What a training cost its devices: pulses, half-selects, reads, energy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from hil.control.array import SynapseArray
from hil.control.states import State
from hil.ledger import Ledger
from hil.program import FloatArray

#: How the energies of :class:`Costs` were obtained; stored beside them.
ENERGY_NOTE: Final = (
    "estimated, not measured: voltage squared and time of every block on every device, times the "
    "device's conductance, the mean of those read before and after each epoch; ohmic, devices "
    "outside the pairs left out, half-selected devices by the level of their line"
)


@dataclass(frozen=True, slots=True)
class Costs:
    """What was driven from the first sample of a training to its end, over all arrays.

    Attributes:
        devices: of the arrays' pairs.
        write_pulses, refresh_pulses: on selected devices, as the learner counted them.
        write_pulses_per_device, refresh_pulses_per_device: their means.
        most_pulses_on_a_device: both together: the endurance that the training needs.
        half_selects, most_half_selects_on_a_device: pulses on devices of which only one line was
            selected.
        read_pulses: driven lines of all reads.
        selected_joule: energy of write pulses in selected devices; see :data:`ENERGY_NOTE`.
        energy_joule: the same with half-selected devices and reads.
    """

    devices: int
    write_pulses: int
    refresh_pulses: int
    write_pulses_per_device: float
    refresh_pulses_per_device: float
    most_pulses_on_a_device: int
    half_selects: int
    most_half_selects_on_a_device: int
    read_pulses: int
    selected_joule: float
    energy_joule: float


class CostMeter:
    """Follows the ledgers of a network's arrays from its making on.

    Args:
        matrices: every matrix of pairs in use; their arrays are read now and at each :meth:`mark`.
        state: of an earlier meter, which goes on; nothing is read now.
    """

    def __init__(self, matrices: Iterable[SynapseArray], state: State | None = None) -> None:
        self._matrices = list(matrices)
        arrays = dict.fromkeys(b for layer in self._matrices for b in layer.backends)
        self._start = {backend: backend.ledger.copy() for backend in arrays}
        self._selected_joule = self._energy_joule = 0.0
        if state is None:
            self._read()
            self._marked = {b: _Exposure.of(b.ledger) for b in arrays}
            return
        self._selected_joule, self._energy_joule = state["joule"]
        for start, tables in zip(self._start.values(), state["start"], strict=True):
            start.restore(tables)
        self._marked = {
            backend: _Exposure(**exposure)
            for backend, exposure in zip(arrays, state["marked"], strict=True)
        }

    def state(self) -> State:
        """Return what it takes to go on measuring."""
        return {
            "joule": [self._selected_joule, self._energy_joule],
            "start": [ledger.tables() for ledger in self._start.values()],
            "marked": [asdict(exposure) for exposure in self._marked.values()],
        }

    def _read(self) -> None:
        for layer in self._matrices:
            layer.read_pairs()

    def mark(self) -> None:
        """Read the pairs and add the energy since the last mark."""
        self._read()
        for backend, before in self._marked.items():
            now = _Exposure.of(backend.ledger)
            g = np.nan_to_num((before.g_siemens + now.g_siemens) / 2)
            self._selected_joule += float(((now.selected_v2s - before.selected_v2s) * g).sum())
            self._energy_joule += float(((now.all_v2s - before.all_v2s) * g).sum())
            self._marked[backend] = now

    def costs(self, write_pulses: int, refresh_pulses: int) -> Costs:
        """Return what was driven up to the last mark."""
        pulses, half, reads = [], [], 0
        for backend, start in self._start.items():
            pulses.append(backend.ledger.selected() - start.selected())
            half.append(np.maximum(backend.ledger.half_selected() - start.half_selected(), 0))
            reads += _line_reads(backend.ledger) - _line_reads(start)
        devices = sum(_devices(layer) for layer in self._matrices)
        return Costs(
            devices, write_pulses, refresh_pulses, write_pulses / max(devices, 1),
            refresh_pulses / max(devices, 1), int(max((p.max() for p in pulses), default=0)),
            int(sum(h.sum() for h in half)), int(max((h.max() for h in half), default=0)), reads,
            self._selected_joule, self._energy_joule,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Exposure:
    """∫V²dt (n_rows, n_cols) of selected devices and in all, and the conductance last read."""

    selected_v2s: FloatArray
    all_v2s: FloatArray
    g_siemens: FloatArray

    @classmethod
    def of(cls, ledger: Ledger) -> _Exposure:
        return cls(ledger.selected_v2s.copy(), ledger.v2s(), ledger.g_last_siemens.copy())


def _line_reads(ledger: Ledger) -> int:
    return int(ledger.row_reads.sum(dtype=np.int64) + ledger.col_reads.sum(dtype=np.int64))


def _devices(layer: SynapseArray) -> int:
    pairs = layer.context.pairs
    if pairs is None:
        return 0
    columns = len(np.unique(pairs.plus_cols)) + len(np.unique(pairs.minus_cols))
    return pairs.n_inputs * columns
