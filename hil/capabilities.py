"""What a backend can do, checked before anything is driven, and mimicked by the simulator."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Range:
    """Closed interval with a resolution, in the unit of the quantity; resolution 0 = continuous."""

    min: float = -math.inf
    max: float = math.inf
    resolution: float = 0.0

    def __post_init__(self) -> None:
        if not self.min <= self.max:
            raise ValueError(f"range from {self.min} to {self.max} is empty")
        if self.resolution < 0:
            raise ValueError(f"resolution {self.resolution} is negative")

    def __contains__(self, value: float) -> bool:
        return self.min <= value <= self.max

    def quantise(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``values`` on the grid of ``resolution``; the caller records what it delivers."""
        if self.resolution == 0.0:
            return values
        return np.round(values / self.resolution) * self.resolution


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Ranges in SI units and features of a backend.

    ``step_overhead_s`` and ``block_overhead_s`` are measured by ``hil doctor`` and used for time
    estimates only. ``sense_a`` is the range and resolution of a current reading.
    """

    level_v: Range = field(default_factory=lambda: Range(-200.0, 200.0))
    width_s: Range = field(default_factory=lambda: Range(1e-9, 2.0))
    rise_s: Range = field(default_factory=lambda: Range(0.0, 1.0))
    compliance_a: Range = field(default_factory=lambda: Range(0.0, math.inf))
    sense_a: Range = field(default_factory=lambda: Range(-math.inf, math.inf))
    max_steps: int = 100_000
    max_block_s: float = 2.0
    parallel_drive: bool = True
    parallel_sense: bool = True
    can_float: bool = True
    per_line_width: bool = True
    limits_current: bool = True
    reciprocal: bool = True
    simulated: bool = False
    step_overhead_s: float = 0.0
    block_overhead_s: float = 0.0
