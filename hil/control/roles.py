"""Pairs whose two devices can exchange their roles, column by column (method M3c).

With unidirectional updates a weight drifts where its two devices step differently: one carries all
the steps up, the other all the steps down. When the devices exchange their roles now and then, the
drift changes its sign with them and averages out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.control.array import SynapseArray
from hil.learning.rule import UpdateSlots, check_slots
from hil.phases.writing import program_columns
from hil.program import BoolArray, FloatArray, Phase, split

Indices = NDArray[np.int64]


class ExchangingArray(SynapseArray):
    """A weight matrix in which the devices of a column pair can be exchanged.

    The controller keeps one sign per output, :attr:`exchanged`. Everything that names G⁺ and G⁻
    here means the devices that carry these roles now; the pair map stays that of the wiring.
    """

    _exchanged: BoolArray | None = None
    #: Called with outputs before their roles change, for a record that outlives the process.
    on_exchange: Callable[[Indices], None] | None = None

    @property
    def exchanged(self) -> BoolArray:
        """(n_outputs,) whether the devices of an output's pairs have exchanged their roles."""
        if self._exchanged is None:
            self._exchanged = np.zeros(self.n_outputs, dtype=np.bool_)
        return self._exchanged

    def exchange(self, outputs: ArrayLike) -> None:
        """Exchange the roles of the devices of ``outputs``; their weights change their sign."""
        index = np.asarray(outputs, dtype=np.int64)
        if self.on_exchange is not None:
            self.on_exchange(index)
        self.exchanged[index] = ~self.exchanged[index]

    @property
    def _sign(self) -> FloatArray:
        return np.where(self.exchanged, -1.0, 1.0)

    def forward(self, x: ArrayLike) -> FloatArray:
        """Return x @ W, see :meth:`SynapseArray.forward`."""
        return super().forward(x) * self._sign

    def backward(self, d: ArrayLike) -> FloatArray:
        """Return W @ d, see :meth:`SynapseArray.backward`."""
        errors = np.asarray(d, dtype=np.float64)
        if errors.shape[-1:] != (self.n_outputs,):
            return super().backward(errors)  # which says what is wrong
        return super().backward(errors * self._sign)

    def read_pairs(self) -> tuple[FloatArray, FloatArray]:
        """Return (g_plus, g_minus), each (n_inputs, n_outputs) in siemens, by their roles."""
        return self._by_role(*super().read_pairs(), self.exchanged)

    def reader_of(self, which: BoolArray) -> Callable[[], tuple[FloatArray, FloatArray]]:
        """Return what reads the pairs in ``which`` by the roles that they have now."""
        read = super().reader_of(which)
        exchanged = self.exchanged[np.nonzero(which)[1]]
        return lambda: self._by_role(*read(), exchanged)

    def apply(self, slots: Sequence[UpdateSlots]) -> int:
        """Drive the coincidence pulses of one update, see :meth:`SynapseArray.apply`."""
        check_slots(slots, self.n_inputs, self.n_outputs)
        out = []
        for part in slots:
            plus, minus = self._by_role(part.plus, part.minus, self.exchanged)
            out.append(replace(part, plus=plus, minus=minus))
        return super().apply(out)

    def program_pairs(
        self, plus: ArrayLike, minus: ArrayLike, *, phase: Phase = Phase.PROGRAM
    ) -> int:
        """Give every device of every pair its count of pulses by its role; return the pulses."""
        sides = self._by_role(np.asarray(plus), np.asarray(minus), self.exchanged)
        return super().program_pairs(*sides, phase=phase)

    def program_some(
        self, which: BoolArray, plus: Indices, minus: Indices, *, phase: Phase = Phase.PROGRAM
    ) -> int:
        """Give the devices of some pairs their pulses by their role; return the pulses."""
        exchanged = self.exchanged[np.nonzero(which)[1]]
        return super().program_some(which, *self._by_role(plus, minus, exchanged), phase=phase)

    @staticmethod
    def _by_role(plus: NDArray, minus: NDArray, exchanged: BoolArray) -> tuple[NDArray, NDArray]:  # type: ignore[type-arg]
        return np.where(exchanged, minus, plus), np.where(exchanged, plus, minus)

    # -- a few columns at a time ------------------------------------------------------------

    def read_columns(self, outputs: Indices) -> tuple[FloatArray, FloatArray]:
        """Return (g_plus, g_minus), each (n_inputs, n) in siemens, of a few outputs' pairs."""
        plus, minus = self._pair_products.columns(outputs)
        return self._by_role(plus, minus, self.exchanged[outputs])

    def program_columns(
        self, outputs: Indices, plus: Indices, minus: Indices, *, phase: Phase = Phase.REFRESH
    ) -> int:
        """Give the pairs of a few outputs their pulses, column by column; return the pulses.

        ``plus`` and ``minus`` are (n_inputs, n) whole numbers, > 0 potentiation, < 0 depression.
        """
        pairs = self._need_pairs()
        plus, minus = self._by_role(plus, minus, self.exchanged[outputs])
        cols = pairs.plus_cols[outputs], pairs.minus_cols[outputs]
        if len(self._sides) == 1:
            jobs = [(0, np.concatenate(cols), np.concatenate([plus, minus], axis=1))]
        else:
            jobs = [(0, cols[0], plus), (1, cols[1], minus)]
        total = 0
        for side, columns, wanted in jobs:
            counts = np.zeros((self.geometry.n_rows, columns.size), dtype=np.int64)
            counts[pairs.rows] = wanted
            total += self._drive_columns(side, columns, counts, phase)
        return total

    def _drive_columns(self, side: int, cols: Indices, counts: Indices, phase: Phase) -> int:
        runner = self._sides[side]
        backend = runner.backend
        before = backend.ledger.device_pulses
        for part in (np.minimum(counts, 0), np.maximum(counts, 0)):
            if not part.any():
                continue
            block = program_columns(self.geometry, self.op, cols, part, phase=phase)
            caps = backend.capabilities
            for piece in split(block, caps.max_steps, caps.max_block_s):
                runner.block(piece)
        return backend.ledger.device_pulses - before
