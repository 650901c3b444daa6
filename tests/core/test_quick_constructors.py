"""Frozen dataclasses with a quick constructor behave as those without one."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, dataclass, replace

import pytest

from hil._quick import quickly_made


@quickly_made
@dataclass(frozen=True, slots=True)
class Pulse:
    level_v: float
    width_s: float = 1e-6
    draft: str = "none"  # a name that the constructor uses itself


def test_defaults_and_keywords_are_those_of_the_dataclass():
    assert Pulse(0.5) == Pulse(level_v=0.5, width_s=1e-6, draft="none")
    assert repr(Pulse(0.5, draft="a")) == "Pulse(level_v=0.5, width_s=1e-06, draft='a')"


def test_an_instance_is_frozen_and_of_its_class():
    pulse = Pulse(0.5)
    assert type(pulse) is Pulse
    with pytest.raises(FrozenInstanceError):
        pulse.level_v = 1.0


def test_it_is_replaced_and_pickled_as_others_are():
    pulse = replace(Pulse(0.5), width_s=2e-6)
    assert pulse.width_s == 2e-6
    assert pickle.loads(pickle.dumps(pulse)) == pulse


@pytest.mark.parametrize("arguments", [{}, {"level_v": 1.0, "height": 2.0}])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(TypeError):
        Pulse(**arguments)
