"""Protocols that decide by reading: ``write-verify``, ``forming`` and ``pair-init``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from hil.config.quantities import Ampere, Count, Siemens, Volt
from hil.operating import Inhibit
from hil.phases.forming import Forming, form
from hil.phases.verify import Strategy, WriteVerify, write_verify
from hil.procedure import ArrayContext, Steps
from hil.program import FloatArray
from hil_protocols.base import CellTable, ProtocolTable, field_error, window
from hil_protocols.fields import (
    FilledArray,
    NegativeVolt,
    NotEmpty,
    Positive,
    PositiveVolt,
    Share,
    TargetLevels,
    Targets,
    Wait,
    Width,
    siemens,
)  # fmt: skip
from hil_protocols.pairing import pair_mask, pairs_of

AboveZeroSiemens = Annotated[Siemens, Field(gt=0.0)]
TargetRow = Annotated[tuple[Annotated[Siemens, Field(ge=0.0)], ...], FilledArray, NotEmpty]


class VerifyTable(ProtocolTable):
    """How cells are brought to their targets; see :class:`hil.phases.verify.WriteVerify`."""

    tolerance: AboveZeroSiemens | None = None
    tolerance_relative: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    max_pulses: Count = 1000
    strategy: Strategy = "fixed"
    start_scale: Positive | None = None
    stop_scale: Positive | None = None
    step: PositiveVolt | None = None
    width_factor: Annotated[float, Field(gt=1.0)] = 1.2
    hold: Count = 4
    burst: Count = 8
    stuck_after: Count = 50
    verify_repeat: Count = 1
    erase_first: bool = False
    inhibit: Inhibit | None = None
    read_voltage: Volt | None = None
    read_width: Width | None = None
    potentiate_voltage: PositiveVolt | None = None
    depress_voltage: NegativeVolt | None = None
    write_width: Width | None = None
    gap: Wait | None = None

    adaptive: ClassVar[bool] = True

    def settings(self) -> WriteVerify:
        """Return the settings; ProtocolError when they contradict each other."""
        return WriteVerify(
            tolerance_fraction=self.tolerance_relative, tolerance_siemens=self.tolerance,
            max_pulses=self.max_pulses, strategy=self.strategy, start_scale=self.start_scale,
            stop_scale=self.stop_scale, step_v=self.step, width_factor=self.width_factor,
            hold=self.hold, burst=self.burst, stuck_after=self.stuck_after,
            read_repeat=self.verify_repeat, erase_first=self.erase_first,
        )  # fmt: skip

    @model_validator(mode="after")
    def _sound(self) -> VerifyTable:
        self.settings()
        return self


class WriteVerifyFile(CellTable, VerifyTable):
    """Read-verify-write to targets; outcome per cell ``ok | max_pulses | stuck | limit | skipped``.

    ``targets`` are dealt to the chosen cells in turn (row-major order); ``target_map`` is one value
    per cell of the whole array.
    """

    kind: Literal["write-verify"]
    targets: TargetLevels = Targets(relative=(0.2, 0.4, 0.6, 0.8))
    target_map: Annotated[tuple[TargetRow, ...], FilledArray, NotEmpty] | None = None

    adaptive: ClassVar[bool] = True

    @model_validator(mode="after")
    def _one_kind_of_targets(self) -> WriteVerifyFile:
        if self.target_map is not None and "targets" in self.model_fields_set:
            raise ValueError("target_map: give either `targets` or `target_map`")
        return self

    def start(self, context: ArrayContext) -> Steps:
        """Check the targets and return the steps."""
        cells = self.chosen(context)
        targets = self.targets_siemens(context)
        return write_verify(context, targets, cells.mask(context.geometry.shape), self.settings())

    def targets_siemens(self, context: ArrayContext) -> FloatArray:
        """Return (n_rows, n_cols) siemens; ProtocolError when they do not fit the array."""
        geometry = context.geometry
        if self.target_map is not None:
            shape = len(self.target_map), len(self.target_map[0])
            if shape != geometry.shape or len({len(row) for row in self.target_map}) != 1:
                raise field_error(
                    "target_map",
                    f"has {shape[0]} rows of {sorted({len(r) for r in self.target_map})} values, "
                    f"the array is {geometry.n_rows} x {geometry.n_cols}",
                )
            return np.array(self.target_map)
        low, high = (0.0, 0.0)
        if isinstance(self.targets, Targets):
            low, high = window(context, "targets")
        values = siemens(self.targets, low, high)
        cells = self.chosen(context)
        targets = np.full(geometry.shape, np.nan)
        targets[cells.rows, cells.cols] = values[np.arange(len(cells)) % values.size]
        return targets


class FormingFile(CellTable):
    """Forming ramp with a current limit; outcome per cell ``ok | not_formed | limit``.

    ``limit_by = "line"`` limits the current of the lines to ``compliance``; ``"gate"`` leaves it to
    the transistor of a 1T1R cell at ``gate_voltage``. What is left out is the operating point's;
    ``auto`` is ``gate`` for 1T1R cells and ``line`` for others.
    """

    kind: Literal["forming"]
    start_voltage: PositiveVolt | None = None
    stop_voltage: PositiveVolt | None = None
    step: PositiveVolt | None = None
    width: Width | None = None
    pulses: Count = 1
    limit_by: Literal["auto", "line", "gate"] = "auto"
    compliance: Annotated[Ampere, Field(gt=0.0)] | None = None
    gate_voltage: PositiveVolt | None = None
    formed: AboveZeroSiemens | None = None
    inhibit: Inhibit | None = None

    adaptive: ClassVar[bool] = True

    @model_validator(mode="after")
    def _one_limit(self) -> FormingFile:
        if self.limit_by == "gate" and self.compliance is not None:
            raise ValueError("compliance: the gate limits the current; give `gate_voltage`")
        return self

    def start(self, context: ArrayContext) -> Steps:
        """Check the ramp and return the steps."""
        gated = context.geometry.cell.select is not None
        by_gate = self.limit_by == "gate" or (
            self.limit_by == "auto" and gated and self.compliance is None
        )
        if by_gate and not gated:
            raise field_error(
                "limit_by", f"{context.geometry.cell.name} cells have no gate to limit by"
            )
        settings = Forming(
            start_v=self.start_voltage, stop_v=self.stop_voltage, step_v=self.step,
            width_s=self.width, pulses_per_level=self.pulses,
            compliance_a=np.inf if by_gate else self.compliance, gate_v=self.gate_voltage,
            formed_siemens=self.formed, read_repeat=self.read_repeat,
        )  # fmt: skip
        return form(context, self.chosen(context).mask(context.geometry.shape), settings)


class PairInit(VerifyTable):
    """Bring both devices of every pair to one common conductance.

    Outcome: that of write-verify, and ``g_plus_siemens``, ``g_minus_siemens``,
    ``common_mode_siemens``, ``mismatch_siemens``, each (n_inputs, n_outputs).
    """

    kind: Literal["pair-init"]
    common_mode: AboveZeroSiemens | None = None
    common_mode_relative: Share = 0.1  #: part of the window, used without ``common_mode``

    def start(self, context: ArrayContext) -> Steps:
        """Check the target and return the steps."""
        target = self.common_mode
        if target is None:
            low, high = window(context, "common_mode")
            target = low + self.common_mode_relative * (high - low)
        pairs = pairs_of(context)
        inner = write_verify(context, target, pair_mask(context, pairs), self.settings())

        def steps() -> Steps:
            result = dict((yield from inner))
            g = result["g_final_siemens"]
            plus, minus = (
                g[np.ix_(pairs.rows, pairs.plus_cols)],
                g[np.ix_(pairs.rows, pairs.minus_cols)],
            )
            return result | {
                "g_plus_siemens": plus,
                "g_minus_siemens": minus,
                "common_mode_siemens": (plus + minus) / 2,
                "mismatch_siemens": plus - minus,
            }

        return steps()
