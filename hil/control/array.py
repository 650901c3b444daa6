"""The array as users see it: a matrix that is read, multiplied and updated through pulses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.backend import Backend
from hil.control.indexing import crossings
from hil.control.products import PairProducts, as_batch
from hil.control.reads import PairReads, SomeReads, conductances
from hil.control.recorder import Recorder
from hil.control.runner import ProcedureResult, Progress, Runner
from hil.control.writes import by_sign, drive, program_some
from hil.errors import ConfigError, GeometryError, ProtocolError
from hil.learning.asking import check_activities, check_errors, slots_of
from hil.learning.rule import UpdateRule, UpdateSlots, check_slots
from hil.operating import OperatingPoint
from hil.pairs import PairMap
from hil.phases.reading import read_map
from hil.phases.writing import CoincidenceUpdate, erase_rows, program_counts
from hil.procedure import ArrayContext, Procedure
from hil.program import BoolArray, FloatArray, Phase
from hil.registry import PROTOCOLS, load

if TYPE_CHECKING:
    from hil.phases.verify import WriteVerify

Counts = NDArray[np.int64]


class SynapseArray:
    """One logical weight matrix on a physical array, or on two (G⁺ and G⁻ apart).

    Conductances are ``g_siemens[n_rows, n_cols]``; weights are
    ``W[i, j] = weight_scale · (G⁺ − G⁻)/(Gmax − Gmin)`` with the window of the operating point.

    Args:
        backend: open backend of the array.
        op: operating point.
        pairs: where the pairs of a weight sit; None = the array has no weights, only devices.
        weight_scale: the weight of a pair at opposite ends of the window, dimensionless.
        recorder: records every block; None = nothing is recorded.
        layer: number written beside recorded pulses.
        minus_backend: the second array, for pair maps of kind ``two-arrays``.

    Raises:
        GeometryError: the pair map does not fit the array.
    """

    def __init__(
        self,
        backend: Backend,
        op: OperatingPoint,
        pairs: PairMap | None = None,
        *,
        weight_scale: float = 1.0,
        recorder: Recorder | None = None,
        layer: int = 0,
        minus_backend: Backend | None = None,
    ) -> None:
        self.backend, self.op, self.layer = backend, op, layer
        self.geometry = backend.geometry
        self.pairs = pairs
        self.weight_scale = weight_scale
        self._sides = [Runner(backend, op, recorder, layer)]
        if pairs is not None:
            pairs.check(self.geometry)
            if pairs.minus_array == 1:
                if minus_backend is None or minus_backend.geometry.shape != self.geometry.shape:
                    raise GeometryError("a two-arrays pair map needs a second array of equal size")
                self._sides.append(Runner(minus_backend, op, recorder, layer))
        self._products: PairProducts | None = None
        self._updates: list[CoincidenceUpdate] = []
        self._pair_reads: PairReads | None = None

    # -- shape ------------------------------------------------------------------------------

    def _need_pairs(self) -> PairMap:
        if self.pairs is None:
            raise GeometryError("this array has no pair map; weights need pairs of columns")
        return self.pairs

    @property
    def n_inputs(self) -> int:
        """Number of logical inputs."""
        return self._need_pairs().n_inputs

    @property
    def n_outputs(self) -> int:
        """Number of logical outputs."""
        return self._need_pairs().n_outputs

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The backend of the array, or of both."""
        return tuple(runner.backend for runner in self._sides)

    @property
    def recorder(self) -> Recorder | None:
        """What records this array's blocks."""
        return self._sides[0].recorder

    @property
    def context(self) -> ArrayContext:
        """What procedures are compiled for."""
        b = self.backend
        return ArrayContext(b.geometry, self.op, b.capabilities, b.limits, self.pairs)

    @property
    def window_siemens(self) -> float:
        """Gmax − Gmin of the operating point; ConfigError when it is not known."""
        window = self.op.g_max_siemens - self.op.g_min_siemens
        if window <= 0:
            raise ConfigError(
                "weights need the conductance window of the device", field="drive.g_max"
            )
        return window

    # -- reading ----------------------------------------------------------------------------

    def read(
        self, rows: ArrayLike | None = None, cols: ArrayLike | None = None, *, repeat: int = 1
    ) -> FloatArray:
        """Return g_siemens (n_rows, n_cols) of the (first) array, NaN where it was not read.

        ``repeat`` readings of each device are averaged.
        """
        chosen = self._index(rows, 0), self._index(cols, 1)
        caps = self.backend.capabilities
        programme = read_map(self.geometry, self.op, caps, *chosen, repeat=repeat)
        out = np.full(self.geometry.shape, np.nan)
        out[crossings(*chosen)] = conductances(self._sides[0], *chosen, programme)
        return out

    def _index(self, values: ArrayLike | None, axis: int) -> NDArray[np.int64]:
        n = self.geometry.shape[axis]
        if values is None:
            return np.arange(n)
        index = np.unique(np.asarray(values, dtype=np.int64))
        if index.size and not (index[0] >= 0 and index[-1] < n):
            raise GeometryError(
                f"{('row', 'column')[axis]} {index[0]} … {index[-1]} is not within 0 … {n - 1}"
            )
        return index

    def read_pairs(self) -> tuple[FloatArray, FloatArray]:
        """Return (g_plus, g_minus), each (n_inputs, n_outputs) in siemens."""
        if self._pair_reads is None:
            self._pair_reads = PairReads(self._sides, self._need_pairs())
        return self._pair_reads.read()

    def reader_of(self, which: BoolArray) -> Callable[[], tuple[FloatArray, FloatArray]]:
        """Return what reads (g_plus, g_minus), each (n,) in siemens, of the pairs in ``which``.

        ``which`` is (n_inputs, n_outputs); the pairs are listed in its order, and only their
        devices are read.
        """
        return SomeReads(self._sides, self._need_pairs(), which).read

    def weights(self) -> FloatArray:
        """Return W (n_inputs, n_outputs), read now."""
        plus, minus = self.read_pairs()
        return self.weight_scale / self.window_siemens * (plus - minus)

    # -- forward and backward ---------------------------------------------------------------

    @property
    def _pair_products(self) -> PairProducts:
        if self._products is None:
            self._products = PairProducts(self._sides, self._need_pairs())
        return self._products

    def forward(self, x: ArrayLike) -> FloatArray:
        """Return x @ W for activities x (n_inputs,) or (batch, n_inputs) with |x| ≤ 1.

        Values in 0 … 1 take one read; a batch with negative values takes two (positive part,
        negative part).

        Raises:
            ProtocolError: wrong shape, NaN, or a magnitude above 1.
        """
        inputs, single = as_batch(x)
        y = self._pair_products.forward(inputs, self.weight_scale / self.window_siemens)
        return y[0] if single else y

    def backward(self, d: ArrayLike) -> FloatArray:
        """Return W @ d for signed errors d (n_outputs,) or (batch, n_outputs).

        Each sample takes two unipolar reads: A drives j⁺ where d > 0 and j⁻ where d < 0, B the
        complement, S = Q_A − Q_B. Each sample is scaled to its largest magnitude, digitally.

        Raises:
            ProtocolError: wrong shape or NaN.
        """
        errors, single = as_batch(d)
        s = self._pair_products.backward(errors, self.weight_scale / self.window_siemens)
        return s[0] if single else s

    # -- writing ----------------------------------------------------------------------------

    def apply(self, slots: Sequence[UpdateSlots]) -> int:
        """Drive the coincidence pulses of one update; return the pulses on selected devices.

        Slots in which no row or no column is chosen are not driven.

        Raises:
            RuleError: a rule's slots have the wrong shape, type or polarity.
        """
        pairs = self._need_pairs()
        check_slots(slots, pairs.n_inputs, pairs.n_outputs)
        if not self._updates:
            self._updates = [
                CoincidenceUpdate(self.geometry, self.op, pairs.rows) for _ in self._sides
            ]
            self._plus_lines = self._updates[0].col_lines(pairs.plus_cols)
            self._minus_lines = self._updates[0].col_lines(pairs.minus_cols)
        total = 0
        for part in slots:
            plus, minus = (part.plus, self._plus_lines), (part.minus, self._minus_lines)
            per_side = [[plus, minus]] if len(self._sides) == 1 else [[plus], [minus]]
            for update, runner, columns in zip(self._updates, self._sides, per_side, strict=True):
                block = update.block(part.polarity, part.rows, *columns)
                if block is not None:
                    before = runner.backend.ledger.device_pulses
                    runner.block(block)
                    total += runner.backend.ledger.device_pulses - before
        return total

    def update(
        self, x: ArrayLike, delta: ArrayLike, rule: UpdateRule, rng: np.random.Generator
    ) -> int:
        """Update the weights by ``rule`` for activities x and errors delta; return device pulses.

        Args:
            x: (n_inputs,) or (batch, n_inputs) in 0 … 1.
            delta: (n_outputs,) or (batch, n_outputs); positive asks for larger weights.
            rule: turns them into pulses; samples of a batch follow one another.
            rng: seeded generator.

        Raises:
            ProtocolError: wrong shape.
            RuleError: x outside 0 … 1 or delta not finite in any sample, and nothing was driven; or
                a rule that fails.
        """
        inputs, _ = as_batch(x)
        errors, _ = as_batch(delta)
        if len(inputs) != len(errors):
            raise ProtocolError(
                f"{len(inputs)} activities but {len(errors)} errors", field="update"
            )
        pairs = self._need_pairs()
        if inputs.shape[1] != pairs.n_inputs or errors.shape[1] != pairs.n_outputs:
            raise ProtocolError(
                f"{inputs.shape[1]} activities and {errors.shape[1]} errors for a matrix of "
                f"{pairs.n_inputs} x {pairs.n_outputs} weights", field="update",
            )  # fmt: skip
        for a, e in zip(inputs, errors, strict=True):
            check_activities(a, self.layer)
            check_errors(e, self.layer)
        return sum(
            self.apply(slots_of(rule, a, e, rng, self.layer))
            for a, e in zip(inputs, errors, strict=True)
        )

    def physical(self, plus: ArrayLike, minus: ArrayLike) -> Counts:
        """Return whole numbers per weight, (n_inputs, n_outputs) each, as (n_rows, n_cols) counts.

        For pairs on one array; a shared reference column takes the first output's value.
        """
        pairs = self._need_pairs()
        if len(self._sides) == 2:
            raise GeometryError("two arrays: programme each side on its own")
        out = np.zeros(self.geometry.shape, dtype=np.int64)
        minus_values = np.asarray(minus, dtype=np.int64)
        out[crossings(pairs.rows, pairs.plus_cols)] = np.asarray(plus, dtype=np.int64)
        if pairs.kind == "reference":
            out[pairs.rows, pairs.minus_cols[0]] = minus_values[:, 0]
        else:
            out[crossings(pairs.rows, pairs.minus_cols)] = minus_values
        return out

    def program_pairs(
        self, plus: ArrayLike, minus: ArrayLike, *, phase: Phase = Phase.PROGRAM
    ) -> int:
        """Give every device of every pair its count of pulses; return the device pulses.

        ``plus`` and ``minus`` are (n_inputs, n_outputs) whole numbers, > 0 potentiation, < 0
        depression (driven first).
        """
        if len(self._sides) == 1:
            return self.program(self.physical(plus, minus), phase=phase)
        pairs = self._need_pairs()
        total = 0
        for side, (values, cols) in enumerate(((plus, pairs.plus_cols), (minus, pairs.minus_cols))):
            counts = np.zeros(self.geometry.shape, dtype=np.int64)
            counts[crossings(pairs.rows, cols)] = np.asarray(values, dtype=np.int64)
            total += self.program(counts, phase=phase, side=side)
        return total

    def program(
        self,
        counts: ArrayLike,
        *,
        phase: Phase = Phase.PROGRAM,
        v_write: float | None = None,
        width_s: float | None = None,
        side: int = 0,
    ) -> int:
        """Give every device its count of write pulses; return the pulses on selected devices.

        Args:
            counts: (n_rows, n_cols) whole numbers, > 0 potentiation, < 0 depression (first).
            phase: recorded phase.
            v_write, width_s: another pulse than the operating point's, in volts and seconds.
            side: 1 = the second array of a two-arrays pair map.
        """
        blocks = [
            program_counts(self.geometry, self.op, part, v_write=v_write, width_s=width_s,
                           phase=phase)
            for part in by_sign(np.asarray(counts, dtype=np.int64))
        ]  # fmt: skip
        return drive(self._sides[side], blocks)

    def program_some(
        self, which: BoolArray, plus: Counts, minus: Counts, *, phase: Phase = Phase.PROGRAM
    ) -> int:
        """Do as :meth:`program_pairs` for the pairs in ``which`` alone, one number for each.

        Raises:
            GeometryError: the pairs share a reference column.
        """
        return program_some(self._sides, self._need_pairs(), which, plus, minus, phase)

    def erase(self, rows: ArrayLike | None = None) -> int:
        """Erase the whole blocks of ``rows`` (three-terminal cells); return the device pulses."""
        chosen = self._index(rows, 0)
        total = 0
        for runner in self._sides:
            before = runner.backend.ledger.device_pulses
            runner.block(erase_rows(self.geometry, self.op, chosen))
            total += runner.backend.ledger.device_pulses - before
        return total

    def write(
        self,
        targets_siemens: ArrayLike,
        *,
        mask: ArrayLike | None = None,
        settings: WriteVerify | None = None,
    ) -> ProcedureResult:
        """Write conductances with read-verify-write; the outcome names each cell's fate.

        Args:
            targets_siemens: (n_rows, n_cols) siemens.
            mask: boolean (n_rows, n_cols), the cells to write; None = all that are not dead.
            settings: tolerance, pulse budget and strategy.

        Returns:
            A result whose ``outcome`` has arrays ``outcome`` (``ok | max_pulses | stuck | limit``
            per cell), ``pulses`` and ``g_final_siemens``.

        Raises:
            ProtocolError: shape, NaN, or targets outside the conductance window.
        """
        from hil.phases.verify import WriteVerifyProcedure

        return self.run(WriteVerifyProcedure(targets_siemens, mask, settings))

    # -- procedures -------------------------------------------------------------------------

    def run(
        self, procedure: Procedure | str | Path, progress: Progress | None = None
    ) -> ProcedureResult:
        """Run a procedure, a protocol file, or a shipped protocol by name.

        Raises:
            ProtocolError: the file is wrong or does not fit the array.
            LimitError: a step is out of range; a static protocol is checked before its first pulse.
        """
        if isinstance(procedure, str | Path):
            procedure = load_protocol(procedure)
        return self._sides[0].procedure(procedure, self.context, progress)


def load_protocol(path: str | Path) -> Procedure:
    """Return the procedure of a protocol file, or of a shipped protocol by name."""
    loaded: Procedure = load(PROTOCOLS, "library")().load(path)
    return loaded
