"""Learning-rate schedules: η of every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from hil.errors import ConfigError


class Schedule(Protocol):
    """Gives the learning rate of every epoch."""

    def rate(self, epoch: int) -> float:
        """Return η of ``epoch`` (from 0), dimensionless."""


def _checked_eta(eta: float) -> None:
    if not (eta > 0.0 and math.isfinite(eta)):
        raise ConfigError(f"must be above 0, got {eta:g}", field="eta")


def _checked_share(name: str, value: float) -> None:
    if not 0.0 < value <= 1.0:
        raise ConfigError(f"must be above 0 and at most 1, got {value:g}", field=name)


@dataclass(frozen=True, slots=True)
class ExponentialDecay:
    """η(epoch) = eta · decay^epoch, epochs from 0."""

    eta: float
    decay: float = 1.0

    def __post_init__(self) -> None:
        _checked_eta(self.eta)
        _checked_share("decay", self.decay)

    def rate(self, epoch: int) -> float:
        """Return η of ``epoch``, dimensionless."""
        return float(self.eta * self.decay**epoch)


@dataclass(frozen=True, slots=True)
class Annealing:
    """From eta in the first of ``epochs`` to eta · final in the last, straight or a half cosine."""

    eta: float
    epochs: int
    final: float = 0.1
    shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        _checked_eta(self.eta)
        _checked_share("final", self.final)
        if self.epochs < 1:
            raise ConfigError(f"must be at least 1, got {self.epochs}", field="epochs")
        if self.shape not in ("linear", "cosine"):
            raise ConfigError(f"{self.shape!r} is neither linear nor cosine", field="shape")

    def rate(self, epoch: int) -> float:
        """Return η of ``epoch``, dimensionless."""
        done = min(epoch / max(self.epochs - 1, 1), 1.0)
        if self.shape == "cosine":
            done = (1.0 - math.cos(math.pi * done)) / 2.0
        return self.eta * (1.0 + (self.final - 1.0) * done)
