"""Activities and errors that mean nothing are refused before a pulse, by every method."""

from __future__ import annotations

import numpy as np
import pytest
from faulty_rules import GOOD_RULE, write_rules

from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.array import SynapseArray
from hil.control.learners.making import make_learner
from hil.control.training import initial_weights, measure_layers
from hil.errors import ProtocolError, RuleError
from hil.learning.loading import load_rule
from hil.learning.neuron import one_hot
from hil.pairs import PairMap


@pytest.fixture
def own_rule(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    return load_rule(f"{write_rules(tmp_path, GOOD_RULE)}:Own")


@pytest.fixture
def array(open_site):
    site = open_site(4, 6)
    pairs = PairMap.build("adjacent", site.backend.geometry, 4, 3)
    return SynapseArray(site.backend, site.op, pairs, layer=2)


@pytest.mark.parametrize(
    ("x", "delta", "message"),
    [
        ([1.0, np.nan, 0.0, 0.0], [0.1, 0.2, 0.3], "layer 2: activity 1 is nan"),
        ([1.0, 0.0, -0.1, 0.0], [0.1, 0.2, 0.3], "layer 2: activity 2 is -0.1"),
        ([1.0, 0.0, 0.0, 2.0], [0.1, 0.2, 0.3], "layer 2: activity 3 is 2"),
        ([1.0] * 4, [np.nan, -0.7, 0.0], "layer 2: the error of output 0 is nan"),
        ([1.0] * 4, [0.0, 0.0, np.inf], "layer 2: the error of output 2 is inf"),
        ([[1.0] * 4] * 2, [[0.1] * 3, [0.1, np.nan, 0.1]], "layer 2: the error of output 1 is nan"),
    ],
    ids=["x nan", "x below 0", "x above 1", "delta nan", "delta inf", "second sample"],
)
def test_an_update_refuses_numbers_without_meaning(array, own_rule, x, delta, message):
    with pytest.raises(RuleError, match=message):
        array.update(x, delta, own_rule, np.random.default_rng(0))
    assert array.backend.ledger.device_pulses == 0
    assert own_rule.seen == []


def test_an_update_of_another_size_is_refused(array, own_rule):
    with pytest.raises(ProtocolError, match="3 activities and 3 errors for a matrix of 4 x 3"):
        array.update(np.ones(3), np.ones(3), own_rule, np.random.default_rng(0))


METHODS = ["M1", "M3", "progressive", "tiki-taka", "manhattan", "threshold", "direct-gradient"]


@pytest.mark.parametrize("hidden", [[], [4]], ids=["one layer", "two layers"])
@pytest.mark.parametrize("method", METHODS)
def test_a_reading_that_is_nan_ends_a_training_before_a_pulse(
    small_network, blobs, method, hidden, monkeypatch
):
    training = validate_text(
        f'schema = 1\n[network]\nhidden = {hidden}\n[rule]\nmethod = "{method}"\n'
        "[schedule]\nepochs = 1\neta = 0.1\n[characterise]\ndevices = 4\npulses = 150\n"
        + ("[rule.tiki_taka]\nsymmetry_pulses = 10\n" if method == "tiki-taka" else "")
        + ("[rule.direct_gradient]\nbatch = 1\n" if method == "direct-gradient" else ""),
        Training,
    )
    network = small_network(training)
    curves, _ = measure_layers(training, network.matrices)
    learner = make_learner(training, network, curves, np.random.default_rng(0))
    learner.initialise(initial_weights(training, network))
    learner.set_rate(0.1)
    last = network.layers[-1]
    read = last.forward
    monkeypatch.setattr(last, "forward", lambda x: read(x) * np.array([1.0, np.nan, 1.0]))
    before = [layer.backend.ledger.device_pulses for layer in network.matrices]
    message = "cost was read as nan" if method == "direct-gradient" else "error of output 1 is nan"
    with pytest.raises(RuleError, match=f"layer [01]: the {message}"):
        learner.learn(blobs.x_train[0], one_hot(blobs.y_train, 3)[0])
    assert [layer.backend.ledger.device_pulses for layer in network.matrices] == before
