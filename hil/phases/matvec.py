"""Forward and backward reads: signed vectors times the conductance matrix, through pulses.

An input u in 0 … 1 becomes a read pulse on its line by width (``u · read_s``), amplitude
(``u · read_v``) or count (``round(u · count_levels)`` pulses). Signed inputs take two unipolar
reads, one of the positive and one of the negative part, whose charges are subtracted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.capabilities import Capabilities
from hil.errors import ProtocolError
from hil.geometry import ArrayGeometry
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.phases.decode import target_charge_coulomb
from hil.phases.lowering import lower_for
from hil.phases.schemes import open_gates
from hil.program import FloatArray, LineState, Phase, PulseBlock, line_levels
from hil.template import BlockTemplate

Indices = NDArray[np.int64]


class MatVec:
    """Compiles and decodes products of one matrix tile: drive some lines, sense others.

    Args:
        geometry: the array.
        op: operating point (read voltage, width, coding).
        capabilities: of the backend; what it lacks is lowered to equivalent steps.
        drive: line indices that are driven, one per input.
        sense: ascending line indices that are sensed, one per output.
        rows: physical rows of the tile (their gates open, 1T1R).
        phase: FORWARD or BACKWARD.
        backward: the minus terminal is driven, so the drive level is negated for a device voltage
            of ``read_v`` again.
    """

    def __init__(
        self,
        geometry: ArrayGeometry,
        op: OperatingPoint,
        capabilities: Capabilities,
        drive: Indices,
        sense: Indices,
        rows: Indices,
        phase: Phase,
        *,
        backward: bool = False,
    ) -> None:
        self.geometry, self.op, self.capabilities = geometry, op, capabilities
        self.drive, self.sense, self._rows = drive, sense, rows
        self.phase = phase
        self._level_v = -op.read_v if backward and not capabilities.reciprocal else op.read_v
        self._templates: dict[int, BlockTemplate] = {}
        select = geometry.cell.select
        self._gate_lines = None if select is None else geometry.lines(select)
        self._kernels: Any = None
        self._shortest_s = capabilities.width_s.min
        # A grounded line sinks what the devices pass: its current into the array is −Σ g·v.
        self._scale = -1.0 / (self._level_v * op.read_s)
        if op.coding == "count":
            self._scale /= op.count_levels
        #: whether blocks are made anew for what the backend lacks; they may be longer than it takes
        self.lowers = not (capabilities.per_line_width and capabilities.parallel_sense)
        self.reads_per_step = 1 if capabilities.parallel_sense else sense.size
        self.lowering: tuple[str, ...] = ()  #: what was done to suit the backend; recorded

    def template(self, n_steps: int) -> BlockTemplate:
        """Return the checked-once template of ``n_steps`` reads."""
        if n_steps not in self._templates:
            op, geometry = self.op, self.geometry
            state, level = line_levels(geometry, n_steps)
            state[:, self.drive] = LineState.DRIVE
            level[:, self.drive] = self._level_v
            open_gates(geometry, op, state, level, self._rows)
            sense = np.zeros(state.shape, dtype=np.bool_)
            sense[:, self.sense] = True
            selected = np.zeros(state.shape, dtype=np.bool_)
            selected[:, self.drive] = True
            width: FloatArray | float = op.read_s
            if op.coding == "width":
                width = np.full(state.shape, op.read_s)
            block = PulseBlock.build(
                self.phase, state, level, width, rise_s=op.rise_s, fall_s=op.fall_s,
                gap_s=op.gap_s, compliance_a=op.compliance_a, sense=sense, selected=selected,
                sensing=op.sensing,
            )  # fmt: skip
            self._templates[n_steps] = BlockTemplate.around(block)
        return self._templates[n_steps]

    def block(self, inputs: FloatArray, *, signed: bool = False) -> PulseBlock:
        """Return the block that reads ``inputs`` (batch, n_drive) with |value| ≤ 1.

        Signed inputs take two steps each, positive part first.

        Raises:
            ProtocolError: shape, NaN, a magnitude above 1, or a negative value while not signed.
        """
        if inputs.ndim != 2 or inputs.shape[1] != self.drive.size:
            raise ProtocolError(
                f"inputs have shape {inputs.shape}, expected (batch, {self.drive.size})",
                field=self.phase.name.lower(),
            )
        if self.op.coding == "width":
            return self._by_width(inputs, signed)
        top = np.abs(inputs).max(initial=0.0)
        if not top <= 1.0:
            raise self._too_large(top)
        if signed:
            parts = np.empty((2 * len(inputs), inputs.shape[1]))
            np.maximum(inputs, 0.0, out=parts[0::2])
            np.maximum(-inputs, 0.0, out=parts[1::2])
            inputs = parts
        elif inputs.min(initial=0.0) < 0.0:
            raise self._negative()
        if self.op.coding == "count":
            return self._counted(inputs)
        template = self.template(len(inputs))
        level = template.block.level_v.copy()
        level[:, self.drive] = inputs * self._level_v
        return self._lowered(template.fill(level_v=level))

    def _too_large(self, value: float) -> ProtocolError:
        return ProtocolError(
            f"an input is NaN or its magnitude {abs(value):g} above 1",
            field=self.phase.name.lower(),
        )

    def _negative(self) -> ProtocolError:
        return ProtocolError(
            "a negative input needs a signed (two-phase) read", field=self.phase.name.lower()
        )

    def _by_width(self, inputs: FloatArray, signed: bool) -> PulseBlock:
        kernels = self._loaded()
        template = self.template(len(inputs) * (2 if signed else 1))
        width = np.zeros(template.block.width_s.shape)
        if self._gate_lines is not None:
            width[:, self._gate_lines] = self.op.read_s
        code, value = kernels.code_widths(
            inputs, signed, self.drive, self.op.read_s, self._shortest_s, width
        )
        if code == kernels.TOO_LARGE:
            raise self._too_large(value)
        if code == kernels.NEGATIVE:
            raise self._negative()
        block = template.fill(width_s=width)
        return self._lowered(block) if self.lowers else block

    def _counted(self, inputs: FloatArray) -> PulseBlock:
        levels = self.op.count_levels
        counts = np.rint(inputs * levels).astype(np.int64)
        per_input = np.maximum(counts.max(axis=1, initial=0), 1)
        source = np.repeat(np.arange(len(inputs)), per_input)
        ordinal = np.concatenate([np.arange(n) for n in per_input])
        on = counts[source] > ordinal[:, None]
        base = self.template(1).block
        level = np.repeat(base.level_v, source.size, axis=0)
        level[:, self.drive] = np.where(on, self._level_v, 0.0)
        state = np.repeat(base.state, source.size, axis=0)
        state[:, self.drive] = np.where(on, LineState.DRIVE, LineState.GROUND)
        block = PulseBlock.build(
            self.phase, state, level, self.op.read_s, rise_s=self.op.rise_s, fall_s=self.op.fall_s,
            gap_s=self.op.gap_s, compliance_a=base.compliance_a, sense=base.sense,
            selected=base.selected, sensing=self.op.sensing, target=source,
        )  # fmt: skip
        return self._lowered(block)

    def _lowered(self, block: PulseBlock) -> PulseBlock:
        if not self.lowers:
            return block
        block, self.lowering = lower_for(block, self.capabilities)
        return block

    def decode(
        self, block: PulseBlock, readings: MeasurementBlock, batch: int, *, signed: bool = False
    ) -> FloatArray:
        """Return (batch, n_sense) Σ input · g in siemens from the charges of the sensed lines."""
        n_targets, n = 2 * batch if signed else batch, self.sense.size
        current_a, scale = readings.current_a, self._scale
        if block.template is not None:  # every sensed line once per step, in order
            if current_a.size != n_targets * n:
                raise ProtocolError(
                    f"{current_a.size} readings, expected {n_targets} x {n}",
                    field=self.phase.name.lower(),
                )
            out = np.empty((batch, n))
            self._loaded().charge_products(current_a, readings.width_s, scale, signed, out)
            return out
        charge_c = target_charge_coulomb(block, readings, self.sense, n_targets)
        if signed:
            return (charge_c[0::2] - charge_c[1::2]) * scale
        return charge_c * scale

    def _loaded(self) -> Any:
        if self._kernels is None:
            from hil.phases import kernels

            self._kernels = kernels
        return self._kernels
