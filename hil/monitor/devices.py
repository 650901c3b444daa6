"""What is known of every device of one array, kept up to date row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.measurement import Status
from hil.monitor.grouping import Groups
from hil.monitor.history import History, PulseCurve
from hil.program import Phase

#: Bits of a status that say something went wrong at the device.
TROUBLE: Final = int(
    Status.I_COMPLIANCE | Status.V_COMPLIANCE | Status.OVERFLOW | Status.UNPARSABLE
    | Status.TIMEOUT | Status.COUNT_UNKNOWN | Status.VERIFY_FAILED | Status.INTERLOCK
    | Status.SUSPECT_LINK
)  # fmt: skip
_CURVE_PHASES: Final = (Phase.PROGRAM, Phase.ERASE)

FloatArray = NDArray[np.float64]


@dataclass(slots=True)
class PulseRows:
    """Rows of the ``pulses`` table on one array, in order; ``g0``, ``g1`` are NaN where null."""

    t_ns: NDArray[np.int64]
    phase: NDArray[np.uint8]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    v: FloatArray
    count: NDArray[np.int64]
    g0: FloatArray
    g1: FloatArray
    status: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.row)

    def where(self, mask: NDArray[np.bool_]) -> PulseRows:
        """Return the rows at which ``mask`` is true."""
        return PulseRows(*(getattr(self, name)[mask] for name in self.__slots__))


class Devices:
    """The devices of one array.

    Attributes:
        g_siemens: (n_rows, n_cols) conductance last read, NaN = never.
        target_siemens: the same shape, where a checkpoint says what was aimed at; None before.
        pulses_up, pulses_down: pulses with positive and negative device voltage while selected.
        status: bits of :data:`TROUBLE` that any row of the device had.
        outcome: what a protocol's outcome says of each device (``ok``, ``stuck``, …); None before.
        dead: devices that the station file marks as dead.
        t_ns: time of the newest row, on the run's clock.
        is_ahead: a checkpoint newer than the rows at hand gave the conductances; rows leave them.
        counts_rows: pulses are counted from rows; False once a ledger gives them.
    """

    def __init__(self, name: str, shape: tuple[int, int]) -> None:
        self.name = name
        self.g_siemens: FloatArray = np.full(shape, np.nan)
        self.target_siemens: FloatArray | None = None
        self.pulses_up = np.zeros(shape, dtype=np.int64)
        self.pulses_down = np.zeros(shape, dtype=np.int64)
        self.status = np.zeros(shape, dtype=np.uint32)
        self.outcome: NDArray[Any] | None = None
        self.dead = np.zeros(shape, dtype=np.bool_)
        self.t_ns = 0
        self.is_ahead = False
        self.counts_rows = True
        self.last_cell: tuple[int, int] | None = None  #: of the newest row
        self.history = History(self.g_siemens.size)
        self.curve = PulseCurve()
        self._sign = np.zeros(self.g_siemens.size, dtype=np.int8)
        self._in_cycle = np.zeros(self.g_siemens.size, dtype=np.int64)
        self._cycle = np.full(self.g_siemens.size, -1, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.g_siemens.shape

    def lacks(self, rows: PulseRows) -> bool:
        """Return whether a row is of a device that this array does not have."""
        n_rows, n_cols = self.shape
        return bool(len(rows) and (rows.row.max() >= n_rows or rows.col.max() >= n_cols))

    def grow(self, shape: tuple[int, int]) -> None:
        """Take in rows and columns that no file told of; what is known of the others stays."""
        old = self.shape
        n_rows, n_cols = max(shape[0], old[0]), max(shape[1], old[1])
        larger = Devices(self.name, (n_rows, n_cols))
        inside = (slice(old[0]), slice(old[1]))
        for name in ("g_siemens", "pulses_up", "pulses_down", "status", "dead"):
            getattr(larger, name)[inside] = getattr(self, name)
        at = np.arange(n_rows * n_cols).reshape(n_rows, n_cols)[inside].reshape(-1)
        for name in ("_sign", "_in_cycle", "_cycle"):
            getattr(larger, name)[at] = getattr(self, name)
        larger.history = self.history.moved(at, n_rows * n_cols)
        for name in ("curve", "t_ns", "last_cell", "is_ahead", "counts_rows"):
            setattr(larger, name, getattr(self, name))
        self.__dict__.update(larger.__dict__)

    def add(self, rows: PulseRows) -> None:
        """Take in rows of this array, in the order recorded."""
        if not len(rows):
            return
        n_cols = self.shape[1]
        flat = rows.row * n_cols + rows.col
        self.t_ns = max(self.t_ns, int(rows.t_ns[-1]))
        self.last_cell = (int(rows.row[-1]), int(rows.col[-1]))
        if not self.is_ahead:
            g = np.where(np.isnan(rows.g1), rows.g0, rows.g1)
            known = ~np.isnan(g)
            # Of a device that occurs twice the later value is the one that stays.
            self.g_siemens.reshape(-1)[flat[known]] = g[known]
        down = (rows.v < 0.0) | (rows.phase == Phase.ERASE)
        if self.counts_rows:
            for counts, these in ((self.pulses_up, ~down), (self.pulses_down, down)):
                np.add.at(counts.reshape(-1), flat[these], rows.count[these])
        trouble = rows.status & np.uint32(TROUBLE)
        bad = np.flatnonzero(trouble)
        if bad.size:
            np.bitwise_or.at(self.status.reshape(-1), flat[bad], trouble[bad])
        self._follow(flat, np.where(down, -1, 1).astype(np.int8), rows)

    def _follow(self, flat: NDArray[np.int64], sign: NDArray[np.int8], rows: PulseRows) -> None:
        """Number the pulses of every device in all and within its cycle, and keep g over them.

        A cycle begins with the first pulse, and with each potentiation after a depression.
        """
        groups = Groups.of(flat)
        order, device = groups.order, flat[groups.order]
        s, n = sign[order], rows.count[order]
        before = groups.previous(s, self._sign[device])
        begins = (before == 0) | ((s > 0) & (before < 0))
        in_cycle = groups.running_sum(n, self._in_cycle[device], restart=begins)
        cycle = groups.running_sum(begins.astype(np.int64), self._cycle[device])
        last = groups.last
        at = device[last]
        self._sign[at], self._in_cycle[at], self._cycle[at] = s[last], in_cycle[last], cycle[last]
        total = groups.running_sum(n, self.history.pulses[device])
        self.history.pulses[at] = total[last]
        g1 = rows.g1[order]
        read = ~np.isnan(g1)
        if not read.any():
            return
        self.history.add(device[read], total[read], in_cycle[read], cycle[read], g1[read])
        curve = read & np.isin(rows.phase[order], _CURVE_PHASES)
        self.curve.add(in_cycle[curve], g1[curve])

    # -- checkpoints ------------------------------------------------------------------------

    def take_ledger(self, tables: Mapping[str, NDArray[Any]], *, counts: bool) -> None:
        """Take conductances, and with ``counts`` the pulse counts, from a ledger's tables."""
        g = tables["g_last_siemens"]
        if g.shape != self.shape:
            return
        self.g_siemens = np.where(np.isnan(g), self.g_siemens, g)
        if counts:
            self.counts_rows = False
            self.pulses_up = tables["selected_plus"].astype(np.int64)
            self.pulses_down = tables["selected_minus"].astype(np.int64)

    def take_outcome(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take map-shaped arrays of a protocol's outcome: last conductance, target, what became."""
        for name, array in arrays.items():
            if array.shape != self.shape:
                continue
            if name in ("g_last_siemens", "g_final_siemens"):
                self.g_siemens = np.where(np.isnan(array), self.g_siemens, array)
            elif name == "target_siemens":
                self.target_siemens = array.astype(np.float64)
            elif name == "outcome":
                self.outcome = array

    def failed(self) -> NDArray[np.bool_]:
        """Return (n_rows, n_cols) devices that are dead, did not verify or missed their target."""
        failed: NDArray[np.bool_] = self.dead | (
            (self.status & np.uint32(Status.VERIFY_FAILED)) != 0
        )
        if self.outcome is not None:
            failed |= ~np.isin(self.outcome, ("ok", "", "skipped"))
        return failed
