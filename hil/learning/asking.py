"""Ask a learning rule for its pulses: what goes in is checked, what goes wrong inside is named.

A user's own rule may raise or return anything. Its mistakes become a
:class:`~hil.errors.RuleError` that says which class, where in the user's file, and for which layer.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np

from hil.errors import HilError, RuleError
from hil.learning.rule import UpdateRule, UpdateSlots, check_slots
from hil.learning.triggers import loaded_kernels
from hil.program import FloatArray

_NONE = np.empty(0)


def slots_of(
    rule: UpdateRule, x: FloatArray, delta: FloatArray, rng: np.random.Generator, layer: int
) -> Sequence[UpdateSlots]:
    """Return the pulse slots of one sample for layer ``layer``; see :class:`UpdateRule`.

    Raises:
        RuleError: an activity is negative or not finite (or, for a user's own rule, above 1), an
            error is not finite, or a user's own rule raised or returned something that cannot be
            turned into pulses.
    """
    users = is_users(rule)
    if users:  # the package's rules look for NaN anyway, in the same loop
        check_activities(x, layer)
        check_errors(delta, layer)
    try:
        slots = rule.slots(x, delta, rng)
    except Exception as exc:
        if not users:
            if isinstance(exc, RuleError):
                check_activities(x, layer)
                check_errors(delta, layer)
            raise
        if _is_clear(exc):
            raise
        raise _blamed(exc, type(rule), "slots", layer) from exc
    if users:
        try:
            check_slots(slots, x.size, delta.size)
        except RuleError as exc:
            raise RuleError(f"{named(type(rule))}, layer {layer}: {exc}") from exc
    return slots


@contextmanager
def blaming(rule: object, call: str, layer: int) -> Iterator[None]:
    """Turn what a user's own rule raises in the ``with`` block into a RuleError that names it.

    Args:
        rule: errors of the package's own rules pass unchanged.
        call: the method that is called.
        layer: which layer the rule is of.
    """
    try:
        yield
    except Exception as exc:
        if not is_users(rule) or _is_clear(exc):
            raise
        raise _blamed(exc, type(rule), call, layer) from exc


def is_users(rule: object) -> bool:
    """Return whether a rule is of a class that is not the package's own."""
    return _of_users(type(rule).__module__)


@cache
def _of_users(module: str) -> bool:
    return module.partition(".")[0] != "hil"


def named(kind: type) -> str:
    """Return a rule's class as training files name it, ``package.module:Class``."""
    return f"{kind.__module__}:{kind.__qualname__}"


def _is_clear(exc: Exception) -> bool:
    return isinstance(exc, HilError) and not isinstance(exc, RuleError)


def _blamed(exc: Exception, kind: type, call: str, layer: int) -> RuleError:
    """Return the error that says what a user's rule raised and where."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    frames = traceback.extract_tb(exc.__traceback__)
    last = next((frame for frame in reversed(frames) if frame.filename == file), None)
    where = f" at {file}:{last.lineno}" if last is not None else f" in {file}" if file else ""
    text = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    return RuleError(f"{named(kind)}, layer {layer}: {call}() raised {text}{where}")


def check_activities(x: FloatArray, layer: int) -> None:
    """Raise RuleError when an activity (n_inputs,) is not within 0 … 1; names line and value."""
    if not loaded_kernels().usable(x, _NONE):
        wrong = np.flatnonzero(~((x >= 0.0) & (x <= 1.0)))
        raise RuleError(
            f"layer {layer}: activity {wrong[0]} is {x[wrong[0]]:g}, activities must be at least "
            "0, at most 1 and not NaN"
        )


def check_errors(delta: FloatArray, layer: int) -> None:
    """Raise RuleError when an error (n_outputs,) is not finite; names line and value."""
    if not loaded_kernels().usable(_NONE, delta):
        wrong = np.flatnonzero(~np.isfinite(delta))
        raise RuleError(
            f"layer {layer}: the error of output {wrong[0]} is {delta[wrong[0]]:g}, errors must "
            "be finite, not NaN"
        )
