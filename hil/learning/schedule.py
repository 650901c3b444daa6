"""Learning-rate schedule: η of every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hil.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ExponentialDecay:
    """η(epoch) = eta · decay^epoch, epochs from 0."""

    eta: float
    decay: float = 1.0

    def __post_init__(self) -> None:
        if not (self.eta > 0.0 and math.isfinite(self.eta)):
            raise ConfigError(f"must be above 0, got {self.eta:g}", field="eta")
        if not 0.0 < self.decay <= 1.0:
            raise ConfigError(f"must be above 0 and at most 1, got {self.decay:g}", field="decay")

    def rate(self, epoch: int) -> float:
        """Return η of ``epoch``, dimensionless."""
        return float(self.eta * self.decay**epoch)
