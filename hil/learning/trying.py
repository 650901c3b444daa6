"""Try a user's own rule before anything is driven: does it return pulses of the right shape?"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from hil.errors import RuleError
from hil.learning.asking import blaming, is_users, slots_of
from hil.learning.methods import RatedRule
from hil.learning.rule import UpdateRule

#: Activity and size of the errors that a rule is tried with; the last input is on, as a bias is.
ACTIVITY, ERROR = 0.5, 0.25


def try_rule(rule: UpdateRule, n_inputs: int, n_outputs: int, layer: int, eta: float) -> None:
    """Ask a copy of a user's own rule for the pulses of one made-up sample; drive nothing.

    The rule itself and the run's generator are left as they are. One that cannot be copied is not
    tried, nor are the package's own.

    Args:
        rule: of layer ``layer``.
        n_inputs, n_outputs: of the layer, bias included.
        layer: for the message.
        eta: learning rate of the first epoch.

    Raises:
        RuleError: it raises, or returns something that cannot be turned into pulses; names class,
            layer, and the shapes that were found and expected.
    """
    if not is_users(rule):
        return
    x, delta = np.full(n_inputs, ACTIVITY), np.full(n_outputs, ERROR)
    x[-1] = 1.0
    delta[1::2] *= -1.0
    with _global_generators_kept():
        trial = _copied(rule)
        if trial is None:
            return
        try:
            if isinstance(trial, RatedRule):
                with blaming(trial, "set_rate", layer):
                    trial.set_rate(eta)
            slots_of(trial, x, delta, np.random.default_rng(0), layer)
        except RuleError as exc:
            exc.add_note("tried before the first pulse; nothing was driven")
            raise


def _copied(rule: UpdateRule) -> UpdateRule | None:
    """Return a deep copy, None where the rule cannot be copied, for whatever reason of its own."""
    with suppress(Exception):
        return copy.deepcopy(rule)
    return None


@contextmanager
def _global_generators_kept() -> Iterator[None]:
    """Put the generators of ``random`` and NumPy back, which a user's rule may draw from."""
    kept, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(kept)
        np.random.set_state(numpys)  # noqa: NPY002
