"""The operating point: the voltages, times and coding with which an array is read and written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

from hil.errors import ConfigError
from hil.program import SensePlan

Inhibit = Literal["v/2", "v/3", "ground", "float", "gate-off"]
INHIBIT_SCHEMES: Final = ("v/2", "v/3", "ground", "float", "gate-off")
Coding = Literal["width", "amplitude", "count"]
CODINGS: Final = ("width", "amplitude", "count")


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """How an array is driven; SI units. A station's ``[drive]`` table, or a device preset's.

    Attributes:
        g_min_siemens, g_max_siemens: the conductance window that weights use; 0 and 0 = not known
            (weights then cannot be made).
        read_v: read voltage across a device (plus terminal driven); read_s: its width.
        potentiate_v, depress_v: device voltage of a nominal potentiation (> 0) and depression
            (< 0) pulse; write_s: its width.
        erase_v, erase_s: block erase of a three-terminal cell, 0 V where there is none.
        form_v, form_s, form_compliance_a: last voltage of the forming ramp, pulse width, limit.
        gate_read_v, gate_write_v, gate_form_v: gate level of a 1T1R cell that is to conduct.
        inhibit: what unselected lines do during a write.
        coding: how an input in 0 … 1 becomes a read pulse; count_levels: pulses for x = 1.
        rise_s, fall_s, gap_s: edges and time at 0 V between pulses.
        compliance_a: per driven line, ``inf`` = not asked for.
        sensing: how read currents are measured.
    """

    g_min_siemens: float = 0.0
    g_max_siemens: float = 0.0
    read_v: float = 0.1
    read_s: float = 10e-6
    potentiate_v: float = 1.0
    depress_v: float = -1.0
    write_s: float = 10e-6
    erase_v: float = 0.0
    erase_s: float = 0.0
    form_v: float = 0.0
    form_s: float = 0.0
    form_compliance_a: float = math.inf
    gate_read_v: float = 0.0
    gate_write_v: float = 0.0
    gate_form_v: float = 0.0
    inhibit: Inhibit = "v/2"
    coding: Coding = "width"
    count_levels: int = 16
    rise_s: float = 0.0
    fall_s: float = 0.0
    gap_s: float = 0.0
    compliance_a: float = math.inf
    sensing: SensePlan = field(default_factory=SensePlan)

    def __post_init__(self) -> None:
        for name in ("read_s", "write_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"must be above 0 s, got {getattr(self, name):g}", field=name)
        if self.g_min_siemens < 0 or self.g_max_siemens < self.g_min_siemens:
            raise ConfigError(
                f"conductance window {self.g_min_siemens:g} … {self.g_max_siemens:g} S is empty "
                "or negative",
                field="g_max",
            )
        if self.read_v == 0:
            raise ConfigError("must not be 0 V", field="read_v")
        if not self.potentiate_v > 0:
            raise ConfigError(f"must be above 0 V, got {self.potentiate_v:g}", field="potentiate_v")
        if not self.depress_v < 0:
            raise ConfigError(f"must be below 0 V, got {self.depress_v:g}", field="depress_v")
        if self.inhibit not in INHIBIT_SCHEMES:
            raise ConfigError(
                f"{self.inhibit!r} is none of {', '.join(INHIBIT_SCHEMES)}", field="inhibit"
            )
        if self.coding not in CODINGS:
            raise ConfigError(f"{self.coding!r} is none of {', '.join(CODINGS)}", field="coding")
        if self.count_levels < 1:
            raise ConfigError(f"must be at least 1, got {self.count_levels}", field="count_levels")
