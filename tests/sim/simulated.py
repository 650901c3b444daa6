"""Small simulated arrays and pulses on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hil_sim.backend import SimBackend
from hil_sim.models.device import Device, load_device

from hil.geometry import CELL_KINDS, ArrayGeometry
from hil.program import LineState, Phase, PulseBlock, line_levels

V, T = 2.0, 1e-6


def changed(device: str | Device = "ideal", **tables: Any) -> Device:
    """Return a preset with whole tables, or fields of tables (``table__field``), changed."""
    preset = load_device(device) if isinstance(device, str) else device
    values = preset.model_dump(by_alias=True)
    for name, value in tables.items():
        table, _, field = name.partition("__")
        if not field:
            values[table] = value
        elif value is None:
            values[table].pop(field, None)
        else:
            values[table][field] = value
    return Device.model_validate({k: v for k, v in values.items() if v is not None})


class Bench:
    """A backend with shorthand for pulses and reads."""

    def __init__(self, device: str | Device, rows: int, cols: int, **options: Any) -> None:
        model = load_device(device) if isinstance(device, str) else device
        geometry = ArrayGeometry(
            rows, cols, CELL_KINDS[model.cell], block_rows=options.pop("block_rows", 0)
        )
        options.setdefault("seed", 1)
        self.backend = SimBackend(geometry, model, **options)
        self.geometry = geometry
        self.backend.open()

    @property
    def g(self) -> np.ndarray:
        return self.backend.true_conductance_siemens()

    def block(
        self, levels: dict[str, float], width: Any = T, *, floats: str = "", sense: str = "",
        **options: Any,
    ) -> PulseBlock:  # fmt: skip
        """Build one step from line names; other lines are grounded. ``width`` may be per line."""
        state, level = line_levels(self.geometry, 1)
        for name, volts in levels.items():
            k = self.geometry.line_index(name)
            state[0, k], level[0, k] = LineState.DRIVE, volts
        for name in floats.split():
            state[0, self.geometry.line_index(name)] = LineState.FLOAT
        sensed = np.zeros(state.shape, dtype=bool)
        for name in sense.split():
            sensed[0, self.geometry.line_index(name)] = True
        if isinstance(width, dict):
            column = np.zeros(state.shape)
            for name, seconds in width.items():
                column[0, self.geometry.line_index(name)] = seconds
            width = column
        phase = options.pop("phase", Phase.PROGRAM)
        return PulseBlock.build(phase, state, level, width, sense=sensed, **options)

    def drive(self, levels: dict[str, float], width: Any = T, **options: Any) -> Any:
        return self.backend.run_block(self.block(levels, width, **options))

    def limit(self, **amperes: float) -> np.ndarray:
        out = np.full(self.geometry.n_lines, np.inf)
        for name, value in amperes.items():
            out[self.geometry.line_index(name)] = value
        return out
