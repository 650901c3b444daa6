"""Forward and backward products of a matrix of pairs, on one array or on two."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hil.control.indexing import Indices, selector
from hil.control.runner import Runner
from hil.errors import ProtocolError
from hil.pairs import PairMap
from hil.phases.matvec import MatVec
from hil.program import FloatArray, Phase, split


def as_batch(values: ArrayLike) -> tuple[FloatArray, bool]:
    """Return values as (batch, n) floats, and whether they were a single vector.

    Raises:
        ProtocolError: neither one nor two dimensions.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 1:
        return array[None, :], True
    if array.ndim != 2:
        raise ProtocolError(f"has {array.ndim} dimensions, needs 1 or 2 (batch first)")
    return array, False


@cache
def _kernels() -> Any:
    from hil.learning import kernels

    return kernels


class PairProducts:
    """Products with G⁺ − G⁻ in siemens; one :class:`Runner` per physical array."""

    def __init__(self, runners: Sequence[Runner], pairs: PairMap) -> None:
        self._runners, self.pairs = runners, pairs
        by_rows = np.argsort(pairs.rows)
        rows = pairs.rows[by_rows]
        self._by_rows, self._rank_of_input = selector(by_rows), selector(np.argsort(by_rows))
        if len(runners) == 1:
            union = np.union1d(pairs.plus_cols, pairs.minus_cols)
            sensed = [union]
            self._plus_at = np.searchsorted(union, pairs.plus_cols)
            self._minus_at = np.searchsorted(union, pairs.minus_cols)
        else:
            sensed = [np.sort(pairs.plus_cols), np.sort(pairs.minus_cols)]
            self._plus_at = np.searchsorted(sensed[0], pairs.plus_cols)
            self._minus_at = np.searchsorted(sensed[1], pairs.minus_cols)
        self._shared = pairs.kind == "reference"
        self._widths = [cols.size for cols in sensed]
        self._chunks = [
            (self._inputs_per_block(r, False), self._inputs_per_block(r, True)) for r in runners
        ]
        self._forward: list[MatVec] = []
        self._backward: list[MatVec] = []
        for runner, cols in zip(runners, sensed, strict=True):
            geometry, caps = runner.backend.geometry, runner.backend.capabilities
            word, bit = geometry.read_lines.plus[rows], geometry.read_lines.minus[cols]
            self._forward.append(MatVec(geometry, runner.op, caps, word, bit, rows, Phase.FORWARD))
            self._backward.append(
                MatVec(geometry, runner.op, caps, bit, word, rows, Phase.BACKWARD, backward=True)
            )

    def _inputs_per_block(self, runner: Runner, signed: bool) -> int:
        caps, op = runner.backend.capabilities, runner.op
        pulses = op.count_levels if op.coding == "count" else 1
        period_s = op.read_s + (op.rise_s + op.fall_s) / 2 + op.gap_s
        longest = int(caps.max_block_s / period_s * (1 + 1e-9))
        return max(min(caps.max_steps, longest) // (pulses * (2 if signed else 1)), 1)

    def _run(self, side: int, product: MatVec, inputs: FloatArray, signed: bool) -> FloatArray:
        runner, chunk = self._runners[side], self._chunks[side][signed]
        if len(inputs) <= chunk and not product.lowers:
            block = product.block(inputs, signed=signed)
            return product.decode(block, runner.block(block), len(inputs), signed=signed)
        op_id = None if runner.recorder is None else runner.recorder.next_op()
        caps, ordinal, parts = runner.backend.capabilities, 0, []
        chunk = max(chunk // product.reads_per_step, 1)
        for begin in range(0, max(len(inputs), 1), chunk):
            part = inputs[begin : begin + chunk]
            block = product.block(part, signed=signed)
            total = np.zeros((len(part), product.sense.size))
            for piece in split(block, caps.max_steps, caps.max_block_s):
                readings = runner.block(piece, op_id, ordinal)
                total += product.decode(piece, readings, len(part), signed=signed)
                ordinal += 1
            parts.append(total)
        return np.concatenate(parts)

    def forward(self, inputs: FloatArray, factor: float = 1.0) -> FloatArray:
        """Return (batch, n_outputs) Σ_i x_i (G⁺ − G⁻)_ij in siemens for (batch, n_inputs).

        The sums are multiplied by ``factor``.

        Raises:
            ProtocolError: wrong shape, NaN, or a magnitude above 1.
        """
        self._check_width(inputs, self.pairs.n_inputs, "forward")
        ordered = inputs[:, self._by_rows]
        signed = _kernels().any_negative(ordered)
        first = self._run(0, self._forward[0], ordered, signed)
        last = first if len(self._forward) == 1 else self._run(1, self._forward[1], ordered, signed)
        out = np.empty((len(inputs), self._plus_at.size))
        _kernels().subtract_columns(first, last, self._plus_at, self._minus_at, factor, out)
        return out

    def backward(self, errors: FloatArray, factor: float = 1.0) -> FloatArray:
        """Return (batch, n_inputs) Σ_j d_j (G⁺ − G⁻)_ij in siemens for (batch, n_outputs).

        The sums are multiplied by ``factor``.

        Raises:
            ProtocolError: wrong shape or NaN.
        """
        self._check_width(errors, self.pairs.n_outputs, "backward")
        drives = [np.zeros((len(errors), width)) for width in self._widths]
        # With reference columns all outputs share one minus column, which takes their sum.
        top = errors.sum(axis=1) if self._shared else np.empty(len(errors))
        _kernels().drive_errors(
            errors, self._plus_at, self._minus_at, self._shared, top, drives[0], drives[-1]
        )
        q = self._run(0, self._backward[0], drives[0], True)
        if len(drives) == 2:
            q = q + self._run(1, self._backward[1], drives[1], True)
        scale = top[:, None] if len(top) > 1 else top[0]
        out: FloatArray = q * scale
        if factor != 1.0:
            out *= factor
        return out[:, self._rank_of_input]

    def columns(self, outputs: Indices) -> tuple[FloatArray, FloatArray]:
        """Return (G⁺, G⁻), (n_inputs, n) siemens each, of a few outputs, read column by column.

        A bit line is driven and all word lines are sensed, so that a column takes one step.
        """
        n = outputs.size
        if len(self._runners) == 1:
            drive = np.zeros((2 * n, self._widths[0]))
            drive[np.arange(n), self._plus_at[outputs]] = 1.0
            drive[np.arange(n, 2 * n), self._minus_at[outputs]] = 1.0
            both = self._run(0, self._backward[0], drive, False)
            plus, minus = both[:n], both[n:]
        else:
            sides = []
            for side, at in enumerate((self._plus_at, self._minus_at)):
                drive = np.zeros((n, self._widths[side]))
                drive[np.arange(n), at[outputs]] = 1.0
                sides.append(self._run(side, self._backward[side], drive, False))
            plus, minus = sides
        rank = self._rank_of_input
        return plus[:, rank].T, minus[:, rank].T

    @staticmethod
    def _check_width(values: FloatArray, n: int, field: str) -> None:
        if values.shape[1] != n:
            raise ProtocolError(
                f"values have shape {values.shape}, expected (batch, {n})", field=field
            )
