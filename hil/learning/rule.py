"""What a learning rule is: pure arithmetic from activities and errors to pulse bits.

A user's own rule is any object with the method of :class:`UpdateRule`; it does no I/O and never
sees a conductance, so it runs the same on a simulated array and on a rig.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from hil._quick import quickly_made
from hil.errors import RuleError
from hil.program import BoolArray, FloatArray

_BOOL = np.dtype(np.bool_)


@quickly_made
@dataclass(frozen=True, slots=True, eq=False)
class UpdateSlots:
    """Coincidence pulses of one polarity: in every slot, selected rows meet selected columns.

    Attributes:
        polarity: +1 potentiates, −1 depresses the selected devices.
        rows: boolean (n_slots, n_inputs).
        plus, minus: boolean (n_slots, n_outputs), the G⁺ and G⁻ columns that take part.
    """

    polarity: int
    rows: BoolArray
    plus: BoolArray
    minus: BoolArray


@runtime_checkable
class UpdateRule(Protocol):
    """Turns one sample's activities and errors into pulses."""

    def slots(
        self, x: FloatArray, delta: FloatArray, rng: np.random.Generator
    ) -> Sequence[UpdateSlots]:
        """Return the pulse slots that change W[i, j] by about η · x[i] · delta[j].

        Args:
            x: (n_inputs,) activities in 0 … 1.
            delta: (n_outputs,) signed errors; positive asks for a larger weight.
            rng: the run's seeded generator.
        """


def check_slots(slots: Sequence[UpdateSlots], n_inputs: int, n_outputs: int) -> None:
    """Raise RuleError when a rule's slots have the wrong shape, type or polarity."""
    if type(slots) is not list and (
        not isinstance(slots, Sequence) or isinstance(slots, str | bytes)
    ):
        raise RuleError(f"a rule must return a sequence of UpdateSlots, got {type(slots).__name__}")
    for number, part in enumerate(slots):
        if not isinstance(part, UpdateSlots):
            raise RuleError(f"slots[{number}] is {type(part).__name__}, must be UpdateSlots")
        if part.polarity not in (1, -1):
            raise RuleError(f"slots[{number}].polarity is {part.polarity!r}, must be +1 or -1")
        rows, plus, minus = part.rows, part.plus, part.minus
        n_slots = len(rows) if isinstance(rows, np.ndarray) and rows.ndim else 0
        if (
            type(rows) is type(plus) is type(minus) is np.ndarray
            and rows.dtype is plus.dtype is minus.dtype is _BOOL
            and rows.shape == (n_slots, n_inputs)
            and plus.shape == minus.shape == (n_slots, n_outputs)
        ):
            continue  # as nearly always; else look for what is wrong
        for name, width in (("rows", n_inputs), ("plus", n_outputs), ("minus", n_outputs)):
            bits = getattr(part, name)
            if not isinstance(bits, np.ndarray) or bits.dtype is not _BOOL:
                raise RuleError(f"slots[{number}].{name} must be a boolean array")
            if bits.shape != (n_slots, width):
                raise RuleError(
                    f"slots[{number}].{name} has shape {bits.shape}, expected ({n_slots}, {width})"
                )
