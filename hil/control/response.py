"""The measured response of a few devices: how many pulses take a conductance where.

Open-loop programming (initial weights, refresh) and the learning rate need to know what a pulse
does. It is measured through pulses, on the array itself: depress fully, then potentiate and depress
pulse by pulse with a read after each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.control.array import SynapseArray
from hil.errors import BackendError, ProtocolError, RunInterrupted
from hil.learning.methods import ColumnSteps
from hil.phases.decode import conductance_siemens
from hil.phases.reading import read_rows
from hil.phases.writing import erase_rows, program_counts
from hil.procedure import ArrayContext, Procedure, Steps
from hil.program import FloatArray, Phase, Programme, PulseBlock, split

#: A branch ends where it has made this share of its whole change.
BRANCH_END = 0.99
#: Depression pulses before the first branch, as a multiple of the branch's own.
RESET_FACTOR = 2


@dataclass(frozen=True, slots=True, eq=False)
class ResponseCurve:
    """Mean response of the measured devices, as shares of the conductance window.

    Attributes:
        up, down: (n_pulses + 1,) conductance after 0, 1, … potentiation pulses from the lower end,
            and depression pulses from the upper end; 0 = g_min and 1 = g_max of the window.
            Monotone: reading noise was smoothed by isotonic bounds.
        up_raw, down_raw: (n_cycles, n_devices, n_pulses + 1) as measured.
    """

    up: FloatArray
    down: FloatArray
    up_raw: FloatArray
    down_raw: FloatArray

    @classmethod
    def of(cls, up_raw: FloatArray, down_raw: FloatArray) -> ResponseCurve:
        """Return the curve of measured branches (n_cycles, n_devices, n_pulses + 1)."""
        return cls(
            _monotone(up_raw.mean(axis=(0, 1))), -_monotone(-down_raw.mean(axis=(0, 1))),
            up_raw, down_raw,
        )  # fmt: skip

    @property
    def low(self) -> float:
        """Share of the window that full depression reaches."""
        return float(self.up[0])

    @property
    def high(self) -> float:
        """Share of the window that full potentiation reaches."""
        return float(self.up[-1])

    @property
    def step_up(self) -> float:
        """Mean change by one potentiation pulse, as a share of the window."""
        return _mean_step(self.up)

    @property
    def step_down(self) -> float:
        """Mean change by one depression pulse, as a (positive) share of the window."""
        return _mean_step(-self.down)

    @property
    def full_down(self) -> int:
        """Depression pulses from the upper to the lower end."""
        return _branch_length(-self.down)

    @property
    def full_up(self) -> int:
        """Potentiation pulses from the lower to the upper end."""
        return _branch_length(self.up)

    def pulses_up(self, start: FloatArray | float, end: FloatArray) -> NDArray[np.int64]:
        """Return the potentiation pulses that take a mean device from ``start`` to ``end`` ≥ it."""
        return _pulses(self.up, start, end)

    def pulses_down(self, start: FloatArray | float, end: FloatArray) -> NDArray[np.int64]:
        """Return the depression pulses that take a mean device from ``start`` to ``end`` ≤ it."""
        return _pulses(-self.down, -np.asarray(start), -end)


def _monotone(values: FloatArray) -> FloatArray:
    upper = np.maximum.accumulate(values)
    lower = np.minimum.accumulate(values[::-1])[::-1]
    out: FloatArray = (upper + lower) / 2
    return out


def _branch_length(rising: FloatArray) -> int:
    reached = rising[0] + BRANCH_END * (rising[-1] - rising[0])
    return max(int((rising >= reached).argmax()), 1)


def _mean_step(rising: FloatArray) -> float:
    n = _branch_length(rising)
    return float(rising[n] - rising[0]) / n


def _pulses(rising: FloatArray, start: FloatArray | float, end: FloatArray) -> NDArray[np.int64]:
    # Interpolation needs strictly rising conductances; equal ones keep their first pulse count.
    g, first = np.unique(rising, return_index=True)
    count = np.interp(end, g, first) - np.interp(start, g, first)
    return np.rint(np.maximum(count, 0.0)).astype(np.int64)


class ResponseMeasurement(Procedure):
    """LTP and LTD of some devices at once: a static procedure with the outcome ``up``, ``down``.

    The reads are recorded as phase CALIBRATE, the pulses as PROGRAM.

    Args:
        cells: (n_devices, 2) rows and columns, no two in the same row.
        n_pulses: per branch.
        n_cycles: of both branches.
        n_reads: averaged after every pulse.
    """

    name = "response"
    kind = "ltp-ltd"

    def __init__(
        self, cells: NDArray[np.int64], n_pulses: int, n_cycles: int = 1, n_reads: int = 1
    ) -> None:
        if len(np.unique(cells[:, 0])) != len(cells) or len(cells) == 0:
            raise ProtocolError("devices must be in different rows", field="cells")
        self.cells = cells
        self.n_pulses, self.n_cycles, self.n_reads = n_pulses, n_cycles, n_reads

    def _counts(self, context: ArrayContext, pulses: int) -> NDArray[np.int64]:
        counts = np.zeros(context.geometry.shape, dtype=np.int64)
        counts[self.cells[:, 0], self.cells[:, 1]] = pulses
        return counts

    def _read(self, context: ArrayContext) -> PulseBlock:
        rows = np.sort(self.cells[:, 0])
        return read_rows(
            context.geometry, context.op, context.capabilities, rows, np.unique(self.cells[:, 1]),
            phase=Phase.CALIBRATE, repeat=self.n_reads,
        )  # fmt: skip

    def _reset(self, context: ArrayContext) -> Iterator[PulseBlock]:
        if erases(context):
            yield erase_rows(context.geometry, context.op, np.sort(self.cells[:, 0]))
            return
        caps = context.capabilities
        counts = self._counts(context, -RESET_FACTOR * self.n_pulses)
        block = program_counts(context.geometry, context.op, counts)
        yield from split(block, caps.max_steps, caps.max_block_s)

    def programme(self, context: ArrayContext) -> Programme:
        """Return the programme: reset, then per cycle two branches of pulses with reads."""
        read = self._read(context)
        up = program_counts(context.geometry, context.op, self._counts(context, 1))
        down = program_counts(context.geometry, context.op, self._counts(context, -1))

        def make() -> Iterator[PulseBlock]:
            yield from self._reset(context)
            for _ in range(self.n_cycles):
                for pulse in (up, down):
                    yield read
                    for _ in range(self.n_pulses):
                        yield pulse
                        yield read

        return Programme(make, self.name)

    def steps(self, context: ArrayContext) -> Steps:
        """Yield the blocks; return ``up_siemens`` and ``down_siemens``."""
        rows, order = np.unique(self.cells[:, 0], return_inverse=True)
        cols = np.unique(self.cells[:, 1])
        at = np.searchsorted(cols, self.cells[:, 1])
        lines = context.geometry.read_lines.minus[cols]
        taken: list[FloatArray] = []
        for block in self.programme(context):
            readings = yield block
            if block.phase is Phase.CALIBRATE:
                g = conductance_siemens(block, readings, context.op.read_v, lines, rows.size)
                taken.append(g[order, at])
        shape = (self.n_cycles, 2, self.n_pulses + 1, len(self.cells))
        branches = np.array(taken).reshape(shape).transpose(1, 0, 3, 2)
        return {"up_siemens": branches[0], "down_siemens": branches[1]}


def erases(context: ArrayContext) -> bool:
    """Return whether devices are brought to their lower end by a block erase."""
    return context.geometry.cell.erase is not None and context.op.erase_v != 0.0


def diagonal_cells(array: SynapseArray, n_devices: int) -> NDArray[np.int64]:
    """Return up to ``n_devices`` devices of the array's pairs, each in a row of its own.

    They are spread over rows and over plus and minus columns.

    Raises:
        ProtocolError: the array has no pairs.
    """
    pairs = array.pairs
    if pairs is None:
        raise ProtocolError("the array has no pairs to characterise", field="pairs")
    cols = pairs.plus_cols
    if pairs.minus_array == 0 and pairs.kind != "reference":
        cols = np.stack([pairs.plus_cols, pairs.minus_cols], axis=1).ravel()
    n = min(n_devices, pairs.n_inputs)
    rows = pairs.rows[np.linspace(0, pairs.n_inputs - 1, n).round().astype(np.int64)]
    chosen = cols[np.linspace(0, cols.size - 1, n).round().astype(np.int64)]
    return np.stack([np.unique(rows), chosen[: len(np.unique(rows))]], axis=1)


def measure_response(
    array: SynapseArray, *, devices: int = 8, pulses: int = 256, cycles: int = 1, reads: int = 1
) -> ResponseCurve:
    """Measure LTP and LTD of a few devices of ``array`` and return their mean response.

    The devices are left depressed; with block erase, whole blocks were erased.

    Raises:
        BackendError: a potentiation pulse does not raise the conductance.
        RunInterrupted: a stop was requested.
    """
    procedure = ResponseMeasurement(diagonal_cells(array, devices), pulses, cycles, reads)
    result = array.run(procedure)
    if result.interrupted:
        raise RunInterrupted("stopped on request, in the safe state")
    g_min = array.op.g_min_siemens
    up, down = (
        (result.outcome[name] - g_min) / array.window_siemens
        for name in ("up_siemens", "down_siemens")
    )
    curve = ResponseCurve.of(up, down)
    if not curve.high - curve.low > 0.0:
        raise BackendError(
            f"{pulses} potentiation pulses of {array.op.potentiate_v:g} V, "
            f"{array.op.write_s:g} s did not raise the conductance of "
            f"{len(procedure.cells)} devices"
        )
    return curve


def measure_columns(array: SynapseArray, pulses: int) -> ColumnSteps:
    """Measure the mean step of a pulse in every column, in siemens.

    All devices of the pairs get ``pulses`` potentiation pulses and then as many depression pulses,
    and are read before, between and after. They should be at their lower end before and are left
    near it; cells with a block erase are potentiated only.

    Raises:
        BackendError: pulses do not move a column's mean.
    """

    def columns() -> list[FloatArray]:
        return [g.mean(axis=0) for g in array.read_pairs()]

    counts = np.full((array.n_inputs, array.n_outputs), pulses)
    levels = [columns()]
    array.program_pairs(counts, counts)
    levels.append(columns())
    up = [after - before for before, after in zip(*levels, strict=True)]
    down = up
    if not erases(array.context):
        array.program_pairs(-counts, -counts)
        down = [before - after for before, after in zip(levels[1], columns(), strict=True)]
    worst = float(np.min([*up, *down]))
    if not worst > 0.0:
        raise BackendError(
            f"{pulses} pulses changed the mean conductance of a column by {worst:.3g} S; "
            "a rate per column needs a step above 0"
        )
    return ColumnSteps(*(side / pulses for side in (*up, *down)))
