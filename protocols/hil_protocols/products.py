"""Protocols of the read phases of learning: ``forward`` and ``backward``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from hil.config.quantities import Count, Volt
from hil.measurement import MeasurementBlock
from hil.operating import Coding
from hil.pairs import alive_lines
from hil.phases.cells import joined, pieces
from hil.phases.matvec import MatVec
from hil.procedure import ArrayContext
from hil.program import FloatArray, Phase, PulseBlock
from hil_protocols.base import ProtocolTable, field_error, window
from hil_protocols.fields import FilledArray, NotEmpty, ShareList, Signed, Width
from hil_protocols.pairing import pairs_of
from hil_protocols.plan import Plan, Record, Shot

Output = Literal["conductance", "current", "weighted-sum"]
Pattern = Literal["identity", "ones", "random"]
SignedList = Annotated[tuple[Signed, ...], FilledArray, NotEmpty]
_STEPS_PER_BLOCK = 256


class ProductTable(ProtocolTable):
    """Fields of both directions.

    Vectors are given as a list of lists, or by ``pattern``: the unit vectors, one vector of ones,
    or ``batch`` random vectors drawn by the run's seed. ``output`` is the sum over inputs as a
    conductance (siemens at full input), a current (amperes) or, over the pairs of the array, as
    the weighted sum with W = (G⁺ − G⁻)/(Gmax − Gmin).
    """

    pattern: Pattern = "identity"
    batch: Count = 1
    output: Output = "conductance"
    coding: Coding | None = None
    count_levels: Annotated[int, Field(strict=True, ge=1, le=4096)] | None = None
    read_voltage: Volt | None = None
    read_width: Width | None = None

    def _vectors(
        self, given: tuple[tuple[float, ...], ...] | None, field: str, n: int, lowest: float,
        context: ArrayContext,
    ) -> FloatArray:  # fmt: skip
        if given is not None:
            for k, vector in enumerate(given):
                if len(vector) != n:
                    raise field_error(
                        f"{field}[{k}]", f"has {len(vector)} values, the array takes {n}"
                    )
            return np.array(given)
        if self.pattern == "identity":
            return np.eye(n)
        if self.pattern == "ones":
            return np.ones((1, n))
        rng = np.random.default_rng([context.seed, 0xF0])
        return rng.uniform(lowest, 1.0, (self.batch, n))

    def _plan(
        self, context: ArrayContext, matvec: MatVec, vectors: FloatArray, signed: bool,
        finish: Any,
    ) -> Plan:  # fmt: skip
        per_sample = 2 if signed else 1
        chunk = max(_STEPS_PER_BLOCK // per_sample, 1)
        period_s = (context.op.read_s + context.op.gap_s) * per_sample
        chunk = max(min(chunk, int(context.capabilities.max_block_s / period_s)), 1)

        def shots() -> Iterator[Shot]:
            for start in range(0, len(vectors), chunk):
                block = matvec.block(vectors[start : start + chunk], signed=signed)
                parts = pieces(block, context.capabilities)
                for part in parts:
                    # A piece that is the whole block keeps its template, checked once.
                    yield Shot(block if len(parts) == 1 else part, (float(start),))

        return Plan(shots, lambda: _ProductRecord(matvec, len(vectors), chunk, signed, finish))

    def _finish(
        self, context: ArrayContext, values: FloatArray, low: float, high: float
    ) -> dict[str, FloatArray]:
        if self.output == "conductance":
            return {"sum_siemens": values}
        if self.output == "current":
            return {"current_a": values * context.op.read_v}
        return {"weighted_sum": values / (high - low)}


class _ProductRecord(Record):
    def __init__(self, matvec: MatVec, total: int, chunk: int, signed: bool, finish: Any) -> None:
        self._matvec, self._total, self._chunk = matvec, total, chunk
        self._signed, self._finish = signed, finish
        self._start: float | None = None
        self._blocks: list[PulseBlock] = []
        self._readings: list[MeasurementBlock] = []
        self._products: list[FloatArray] = []

    def add(self, shot: Shot, readings: MeasurementBlock) -> None:
        """Take one piece of a chunk of vectors."""
        start = (shot.point or (0.0,))[0]
        if start != self._start:
            self._close()
            self._start = start
        self._blocks.append(shot.block)
        self._readings.append(readings)

    def _close(self) -> None:
        if self._start is None:
            return
        batch = min(self._chunk, self._total - int(self._start))
        whole, readings = self._blocks[0], self._readings[0]
        if len(self._blocks) > 1:
            whole = joined(self._blocks)
            readings = _merged(self._blocks, self._readings)
        self._products.append(self._matvec.decode(whole, readings, batch, signed=self._signed))
        self._blocks, self._readings = [], []

    def outcome(self) -> dict[str, Any]:
        """Return inputs and products."""
        self._close()
        self._start = None
        n = self._matvec.sense.size
        products = np.concatenate(self._products) if self._products else np.empty((0, n))
        done: dict[str, Any] = self._finish(products)
        if self._matvec.lowering:
            done["lowering"] = list(self._matvec.lowering)
        return done


def _merged(blocks: list[PulseBlock], parts: list[MeasurementBlock]) -> MeasurementBlock:
    offsets = np.cumsum([0, *(block.n_steps for block in blocks[:-1])])
    columns = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(MeasurementBlock)
    }
    shift = np.repeat(offsets, [len(part) for part in parts])
    columns["step"] = (columns["step"] + shift).astype(np.int32)
    return MeasurementBlock(**columns)


class Forward(ProductTable):
    """Input vectors on the word lines, sums on the bit lines.

    Outcome: ``inputs`` (n, n_inputs) and ``sum_siemens`` | ``current_a`` (n, n_cols) |
    ``weighted_sum`` (n, n_outputs).
    """

    kind: Literal["forward"]
    inputs: Annotated[tuple[ShareList, ...], FilledArray, NotEmpty] | None = None

    def start(self, context: ArrayContext) -> Plan:
        """Compile."""
        geometry = context.geometry
        weighted = self.output == "weighted-sum"
        low, high = window(context, "output") if weighted else (0.0, 0.0)
        pairs = pairs_of(context) if weighted or context.pairs is not None else None
        rows = alive_lines(geometry)[0] if pairs is None else pairs.rows
        lines = geometry.read_lines
        matvec = MatVec(
            geometry, context.op, context.capabilities, lines.plus[rows], lines.minus, rows,
            Phase.FORWARD,
        )  # fmt: skip
        inputs = self._vectors(self.inputs, "inputs", rows.size, 0.0, context)

        def finish(sums: FloatArray) -> dict[str, FloatArray]:
            if weighted and pairs is not None:
                sums = sums[:, pairs.plus_cols] - sums[:, pairs.minus_cols]
            return {"inputs": inputs} | self._finish(context, sums, low, high)

        return self._plan(context, matvec, inputs, False, finish)


class Backward(ProductTable):
    """Signed error vectors on the bit lines, sums on the word lines, in two unipolar phases.

    With ``weighted-sum`` an error drives its pair: the plus column for δ > 0 and the minus column
    for δ < 0 in the first phase, the complement in the second. Otherwise there is one error per
    physical column.

    Outcome: ``errors`` (n, n_outputs | n_cols) and ``sum_siemens`` | ``current_a`` |
    ``weighted_sum`` (n, n_inputs).
    """

    kind: Literal["backward"]
    errors: Annotated[tuple[SignedList, ...], FilledArray, NotEmpty] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Backward:
        if self.errors is not None and "pattern" in self.model_fields_set:
            raise ValueError("pattern: give either `errors` or `pattern`")
        return self

    def start(self, context: ArrayContext) -> Plan:
        """Compile."""
        geometry = context.geometry
        weighted = self.output == "weighted-sum"
        low, high = window(context, "output") if weighted else (0.0, 0.0)
        pairs = pairs_of(context) if weighted or context.pairs is not None else None
        rows = alive_lines(geometry)[0] if pairs is None else pairs.rows
        lines = geometry.read_lines
        matvec = MatVec(
            geometry, context.op, context.capabilities, lines.minus, np.sort(lines.plus[rows]),
            rows, Phase.BACKWARD, backward=True,
        )  # fmt: skip
        n = geometry.n_cols if not weighted or pairs is None else pairs.n_outputs
        errors = self._vectors(self.errors, "errors", n, -1.0, context)
        driven = errors
        if weighted and pairs is not None:
            driven = np.zeros((len(errors), geometry.n_cols))
            driven[:, pairs.plus_cols] = errors
            driven[:, pairs.minus_cols] = -errors
        order = np.argsort(np.argsort(lines.plus[rows]))  # sensed lines are in ascending order

        def finish(sums: FloatArray) -> dict[str, FloatArray]:
            return {"errors": errors} | self._finish(context, sums[:, order], low, high)

        return self._plan(context, matvec, driven, True, finish)
