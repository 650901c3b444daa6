"""What goes wrong inside a user's own rule is found early, and names the user's own file."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from faulty_rules import GOOD_RULE, write_rules

from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.training import train
from hil.datasets.sources import load_digits
from hil.errors import ConfigError, RuleError
from hil.learning.asking import slots_of
from hil.learning.loading import load_rule
from hil.learning.methods import PairRule
from hil.learning.triggers import StochasticCoincidence
from hil.learning.trying import try_rule


def driven(network):
    """Return device pulses and reads of all layers."""
    sums = [layer.backend.ledger.summary() for layer in network.layers]
    return sum(each["device_pulses"] + each["read_pulses"] for each in sums)


@pytest.fixture
def with_rule(small, small_network, blobs, tmp_path, monkeypatch):
    """Train the small network with a rule; return what it raised, and device pulses and reads."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(body, *, name="Own", rule=None, method="M3", setup=""):
        module = write_rules(tmp_path, body, setup)
        training = small(method, rule=f'rule = "{rule or module + ":" + name}"', epochs=1)
        network = small_network(training)
        with pytest.raises((ConfigError, RuleError)) as caught:
            train(training, blobs, network)
        return module, caught.value, driven(network)

    return run


def test_an_error_inside_a_rule_names_class_file_line_layer_and_sample(with_rule, tmp_path):
    module, error, pulses = with_rule(
        "        self.n += 1\n        if self.n > 5:\n            self.broken()\n"
        "        return []\n    n = 0\n    def broken(self):\n        raise RuntimeError('boom')\n"
    )
    lines = (tmp_path / f"{module}.py").read_text(encoding="utf-8").splitlines()
    line = 1 + next(k for k, text in enumerate(lines) if "boom" in text)
    text = str(error)
    assert text.startswith(f"{module}:Own, layer 0: slots() raised RuntimeError: boom at ")
    assert text.endswith(f"{module}.py:{line}")
    assert isinstance(error.__cause__, RuntimeError)
    assert any(re.fullmatch(r"sample \d+ of the training part, epoch 1", note)
               for note in error.__notes__)  # fmt: skip
    assert pulses > 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("        return self.missing\n", r"raised AttributeError: .*missing.* at .*\.py:\d+"),
        ("        return None\n", "must return a sequence of UpdateSlots, got NoneType"),
        ("        rows = np.ones((1, x.size + 1), bool)\n"
         "        cols = np.ones((1, delta.size), bool)\n"
         "        return [UpdateSlots(1, rows, cols, cols)]\n",
         r"layer 0: slots\[0\].rows has shape \(1, 8\), expected \(1, 7\)"),
        ("        return []\n    def set_rate(self, eta):\n        raise KeyError(eta)\n",
         r"set_rate\(\) raised KeyError: 0.1 at"),
    ],
    ids=["raises", "returns nothing", "wrong shape", "rate"],
)  # fmt: skip
def test_a_wrong_rule_is_found_before_anything_is_driven(with_rule, body, message):
    module, error, pulses = with_rule(body)
    assert re.search(message, str(error))
    assert str(error).startswith(f"{module}:Own, layer 0: ")
    assert pulses == 0


def test_a_rule_that_takes_no_sample_names_its_file(with_rule):
    module, error, pulses = with_rule("", setup="class Deaf:\n    def slots(self): ...\n",
                                      name="Deaf")  # fmt: skip
    assert re.search(rf"raised TypeError: .* in .*{module}\.py$", str(error))
    assert pulses == 0


@pytest.mark.parametrize(("rule", "message"), [("nomod_at_all:Rule", "cannot be imported"),
                                               ("os:NoRule", "has no class")])  # fmt: skip
def test_a_rule_that_cannot_be_loaded_is_found_before_anything_is_driven(with_rule, rule, message):
    _, error, pulses = with_rule("        return []\n", rule=rule)
    assert message in str(error)
    assert pulses == 0


@pytest.mark.parametrize(
    ("table", "field"),
    [('method = "direct-gradient"\n[rule.direct_gradient]\nmax_weights = 10', "max_weights"),
     ('method = "M3"\n[dataset]\nkind = "digits"', "dataset")],
    ids=["too many weights", "another data set"],
)  # fmt: skip
def test_a_method_that_does_not_fit_is_refused_before_anything_is_driven(
    small, small_network, blobs, table, field
):
    network = small_network(small())
    training = validate_text(
        f"schema = 1\n[network]\nhidden = [5]\n[characterise]\ndevices = 2\n[rule]\n{table}\n",
        Training,
    )
    dataset = load_digits() if field == "dataset" else blobs
    with pytest.raises(ConfigError, match=field):
        train(training, dataset, network)
    assert driven(network) == 0


def test_trying_a_rule_leaves_it_and_every_generator_as_they_were(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    rule = load_rule(f"{write_rules(tmp_path, GOOD_RULE)}:Own")
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    try_rule(rule, 4, 3, 0, 0.1)
    assert rule.seen == []
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    rule.slots(np.ones(4), np.ones(3), np.random.default_rng(0))
    assert rule.seen == [4]


def test_a_rule_that_cannot_be_copied_is_not_tried(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    body = "        return None\n    def __deepcopy__(self, memo):\n        raise OSError('no')\n"
    rule = load_rule(f"{write_rules(tmp_path, body)}:Own")
    try_rule(rule, 4, 3, 0, 0.1)
    with pytest.raises(RuleError, match="must return a sequence"):
        slots_of(rule, np.ones(4), np.ones(3), np.random.default_rng(0), 0)


def test_an_error_inside_the_packages_own_rule_is_not_blamed_on_a_user(monkeypatch):
    rule = PairRule("M3", StochasticCoincidence(0.1, 0.1))
    monkeypatch.setattr(rule.trigger, "coincidences", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        slots_of(rule, np.ones(4), np.ones(3), np.random.default_rng(0), 0)
