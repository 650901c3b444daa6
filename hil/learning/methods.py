"""Weight-updating methods: which device of a pair is pulsed, with which polarity.

======  ================================================  ============  =====================
method  a larger weight (δ > 0)                           write phases  rest of the pair
======  ================================================  ============  =====================
M1      potentiate G⁺ and depress G⁻                      2             –
M2      potentiate G⁺ (δ < 0: depress it)                 2             G⁻ is a fixed reference
M3      potentiate G⁺ (δ < 0: potentiate G⁻)              1             refresh lowers both
M3′     depress G⁻ (δ < 0: depress G⁺)                    1             refresh raises both
======  ================================================  ============  =====================

M3c is M3 whose pairs exchange their two devices now and then (:mod:`hil.control.roles`); its rule
is that of M3. G⁺ and G⁻ are on different lines, so one polarity and one write phase serve both
signs of a whole layer in M3 and M3′.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, get_args, runtime_checkable

import numpy as np

from hil.config.rule import PairMethod
from hil.errors import ConfigError, RuleError
from hil.learning.rule import UpdateSlots
from hil.learning.triggers import (
    MAX_SLOTS_PER_BLOCK,
    ClipCount,
    StochasticCoincidence,
    Trigger,
    loaded_kernels,
)
from hil.program import BoolArray, FloatArray

Method = PairMethod

#: method -> (polarity, device raised or lowered for δ > 0) of every write phase, in order.
_PHASES: Final[dict[str, tuple[tuple[int, str], ...]]] = {
    "M1": ((1, "same"), (-1, "other")),
    "M2": ((1, "plus"), (-1, "plus")),
    "M3": ((1, "same"),),
    "M3'": ((-1, "other"),),
}
METHODS: Final = get_args(Method)


@runtime_checkable
class RatedRule(Protocol):
    """A rule that follows the learning-rate schedule; a user's own rule may be one."""

    def set_rate(self, eta: float) -> None:
        """Take over the learning rate of the epoch."""


@dataclass(frozen=True, slots=True, eq=False)
class ColumnSteps:
    """Measured mean step of a pulse in every column, all in one unit, e.g. siemens.

    Attributes:
        up_plus, up_minus: (n_outputs,) potentiation in the columns of G⁺ and of G⁻.
        down_plus, down_minus: the same of depression, positive.
    """

    up_plus: FloatArray
    up_minus: FloatArray
    down_plus: FloatArray
    down_minus: FloatArray

    def symmetric(self) -> ColumnSteps:
        """Return the mean of both columns of every pair, for pairs that exchange their devices."""
        up = (self.up_plus + self.up_minus) / 2
        down = (self.down_plus + self.down_minus) / 2
        return ColumnSteps(up, up, down, down)

    def relative(self, method: Method) -> tuple[FloatArray, FloatArray]:
        """Return (n_outputs,) steps of a coincidence for δ > 0 and for δ < 0 over their mean.

        Raises:
            ConfigError: a step is not above 0.
        """
        sides = {(1, "plus"): self.up_plus, (1, "minus"): self.up_minus,
                 (-1, "plus"): self.down_plus, (-1, "minus"): self.down_minus}  # fmt: skip
        larger, smaller = np.zeros_like(self.up_plus), np.zeros_like(self.up_plus)
        for polarity, device in _PHASES[method]:
            if device == "plus":  # this phase serves one sign of δ only
                moved = larger if polarity > 0 else smaller
                moved += sides[polarity, "plus"]
                continue
            first, second = ("plus", "minus") if device == "same" else ("minus", "plus")
            larger += sides[polarity, first]
            smaller += sides[polarity, second]
        if not (larger.min() > 0.0 and smaller.min() > 0.0):
            raise ConfigError("a column's measured step is not above 0", field="rate")
        mean = (larger.mean() + smaller.mean()) / 2
        return larger / mean, smaller / mean


class PairRule:
    """A learning rule: a trigger chooses devices, a method turns them into write pulses.

    Args:
        method: ``M1``, ``M2``, ``M3`` or ``M3'``.
        trigger: chooses rows and columns.
        dead_zone: errors with |δ| up to this value give no pulse.
        steps: measured steps of the columns; errors are divided by them, so that each column
            changes by η·x·δ although its pulses do more or less than the array's mean.

    Raises:
        ConfigError: unknown method, negative dead zone, steps that are not above 0.
    """

    def __init__(
        self,
        method: Method,
        trigger: Trigger,
        *,
        dead_zone: float = 0.0,
        steps: ColumnSteps | None = None,
    ) -> None:
        if method not in _PHASES:
            raise ConfigError(f"{method!r} is none of {', '.join(METHODS)}", field="method")
        if not dead_zone >= 0.0:
            raise ConfigError(f"must be at least 0, got {dead_zone:g}", field="dead_zone")
        self.method: Method = method
        self.trigger = trigger
        self.dead_zone = dead_zone
        self._none = ClipCount()
        self._gains: tuple[FloatArray, FloatArray] = np.empty(0), np.empty(0)
        if steps is not None:
            up, down = steps.relative(method)
            self._gains = 1.0 / up, 1.0 / down

    @property
    def clips(self) -> ClipCount:
        """Probabilities drawn and clipped so far (none for the deterministic triggers)."""
        if isinstance(self.trigger, StochasticCoincidence):
            return self.trigger.clips
        return self._none

    def set_rate(self, eta: float) -> None:
        """Take over the learning rate of the epoch."""
        self.trigger.set_rate(eta)

    def state(self) -> dict[str, Any]:
        """Return the counts so far: all that a rule keeps between samples."""
        return {"drawn": self.clips.drawn, "clipped": self.clips.clipped}

    def restore(self, state: dict[str, Any]) -> None:
        """Count on from :meth:`state`."""
        self.clips.drawn, self.clips.clipped = state["drawn"], state["clipped"]

    def slots(
        self, x: FloatArray, delta: FloatArray, rng: np.random.Generator
    ) -> Sequence[UpdateSlots]:
        """Return the write phases of one sample; see :class:`hil.learning.rule.UpdateRule`.

        Raises:
            RuleError: an activity is negative, or an activity or error not finite.
        """
        size, kernels = np.empty_like(delta), loaded_kernels()
        if not kernels.magnitudes(x, delta, self.dead_zone, *self._gains, size):
            raise RuleError("activities must be at least 0, they and errors finite and not NaN")
        rows, cols = self.trigger.coincidences(x, size, rng)
        up, down = np.empty_like(cols), np.empty_like(cols)
        if not kernels.split_by_sign(rows, cols, delta, up, down):
            return ()
        out: list[UpdateSlots] = []
        for start in range(0, len(rows), MAX_SLOTS_PER_BLOCK):
            part = slice(start, start + MAX_SLOTS_PER_BLOCK)
            for polarity, device in _PHASES[self.method]:
                out.append(_phase(polarity, device, rows[part], up[part], down[part]))
        return out


def _phase(
    polarity: int, device: str, rows: BoolArray, up: BoolArray, down: BoolArray
) -> UpdateSlots:
    if device == "plus":
        cols = up if polarity > 0 else down
        return UpdateSlots(polarity, rows, cols, np.zeros_like(cols))
    return (
        UpdateSlots(polarity, rows, up, down)
        if device == "same"
        else UpdateSlots(polarity, rows, down, up)
    )


def step_per_coincidence(method: Method, potentiation: float, depression: float) -> float:
    """Return ΔW̄ of one coincidence in weight units from the mean steps of one device.

    M1 moves both devices of a pair, M2 one device up or down (the mean of both), M3 and M3′ one
    device in one direction.

    Raises:
        ConfigError: unknown method.
    """
    try:
        return {
            "M1": potentiation + depression,
            "M2": (potentiation + depression) / 2,
            "M3": potentiation,
            "M3'": depression,
        }[method]
    except KeyError:
        raise ConfigError(f"{method!r} is none of {', '.join(METHODS)}", field="method") from None
