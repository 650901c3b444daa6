"""Methods of the literature: each learns, through pulses, what its reference claims it learns."""

from __future__ import annotations

import numpy as np
import pytest

from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.learners.making import make_learner
from hil.control.training import measure_layers
from hil.datasets.sources import load_dataset
from hil.errors import ConfigError
from hil.program import Phase

DIGITS = "[dataset]\nsplit_seed = 1\ntrain_limit = 1000\n"
ONE_LAYER = "[network]\nhidden = []\nweight_scales = [{}]\ninit_spread = 0.1\n"

#: method -> (training file, device, test accuracy that three to four epochs have to reach)
CASES = {
    "progressive": ("[network]\nhidden = [16]\n", {"states": 256}, 0.8),
    "manhattan": ("[network]\nhidden = [16]\n[rule.manhattan]\nbatch = 16\n", {"states": 256}, 0.8),
    "manhattan stochastic": (
        ONE_LAYER.format(1.0) + "[rule.manhattan]\nbatch = 1\n", {"states": 1024}, 0.8,
    ),
    "tiki-taka": (
        ONE_LAYER.format(2.0) + "[rule.tiki_taka]\ntransfer_every = 1\nsymmetry_pulses = 200\n",
        {"nu": 3.0}, 0.8,
    ),
    "threshold": (
        ONE_LAYER.format(0.5) + "[characterise]\npulses = 8\n", {"states": 1}, 0.8,
    ),
    "weight-transfer": ("[network]\nhidden = [16]\n", {"step_d2d": 0.3}, 0.9),
    "weight-transfer open-loop": (
        '[network]\nhidden = [16]\n[rule.weight_transfer]\nmode = "open-loop"\n', {"nu": 3.0}, 0.9,
    ),
    "float": ("[network]\nhidden = [16]\n", {}, 0.9),
}  # fmt: skip


def training_of(case: str, epochs: int) -> Training:
    method = case.split()[0]
    text, _, _ = CASES[case]
    head = f'schema = 1\nbaseline = false\n{DIGITS}[rule]\nmethod = "{method}"\n'
    return validate_text(f"{head}{text}[schedule]\nepochs = {epochs}\neta = 0.1\n", Training)


@pytest.mark.parametrize("case", CASES)
def test_a_method_of_the_literature_learns_digits(run_training, device_file, case):
    _, options, least = CASES[case]
    training = training_of(case, 4)
    phases: set[Phase] = set()

    def watched(backend):
        add = backend.ledger.add
        backend.ledger.add = lambda block: phases.add(block.phase) or add(block)
        return backend

    device = device_file(case.replace(" ", "-"), **options)
    _, result = run_training(training, load_dataset(training), device, wrap=watched)
    assert result.history.test_accuracy >= least
    costs = result.history.costs
    if case == "float":
        assert phases == set()
        assert costs.write_pulses == costs.devices == 0
    elif case.startswith("weight-transfer"):
        assert Phase.UPDATE not in phases
        assert np.isnan([epoch.test_accuracy for epoch in result.history.epochs[:-1]]).all()
        assert [epoch.write_pulses > 0 for epoch in result.history.epochs] == [False] * 3 + [True]
    else:
        assert {Phase.FORWARD, Phase.UPDATE} <= phases
        assert costs.write_pulses > 0


def test_direct_gradient_learns_a_small_problem_on_varying_devices(
    small, run_training, device_file, blobs
):
    training = validate_text(
        "schema = 1\n[network]\nhidden = []\nweight_scales = [2.0]\ninit_spread = 0.05\n"
        '[rule]\nmethod = "direct-gradient"\n[schedule]\nepochs = 3\neta = 0.3\n',
        Training,
    )
    device = device_file("direct", states=256, step_d2d=0.2)
    network, result = run_training(training, blobs, device)
    assert result.history.test_accuracy >= 0.9
    # Each of 22 batches of 16 perturbs each of 21 weights there and back by 4 pulses.
    assert result.history.costs.refresh_pulses == (3 * 120 // 16) * 21 * 2 * 4
    assert network.layers[0].backend.ledger.row_reads.sum() > 0


def test_a_measured_gradient_is_that_of_the_cost(small, small_network, blobs):
    network = small_network(small("M1"))
    curves, _ = measure_layers(small("M1"), network.layers)
    table = validate_text('schema = 1\n[rule]\nmethod = "direct-gradient"\n', Training)
    learner = make_learner(table, network, curves, np.random.default_rng(0))
    rng = np.random.default_rng(4)
    learner.initialise([rng.uniform(-0.1, 0.1, (a.n_inputs, a.n_outputs)) for a in network.layers])
    x, target = blobs.x_train[:8], np.eye(3)[blobs.y_train[:8]]
    measured = learner._measure(1, x, target)
    y, activities, _ = network.forward_pass(x)
    error = (target - y) * ((y > 0) & (y < 1)) / 4
    expected = -activities[1].T @ error / len(x)
    assert measured == pytest.approx(expected, abs=0.1 * np.abs(expected).max())


def test_direct_gradient_refuses_networks_that_would_take_for_ever(small, small_network):
    network = small_network(small())
    table = validate_text(
        'schema = 1\n[rule]\nmethod = "direct-gradient"\n'
        "[rule.direct_gradient]\nmax_weights = 52\n",
        Training,
    )
    curves, _ = measure_layers(table, network.layers)
    with pytest.raises(ConfigError, match="53 weights"):
        make_learner(table, network, curves, np.random.default_rng(0))


def _learner(method, small, small_network, more=""):
    training = validate_text(
        f'schema = 1\n[network]\nhidden = [5]\n[rule]\nmethod = "{method}"\n{more}', Training
    )
    network = small_network(training)
    curves, _ = measure_layers(training, network.matrices)
    return make_learner(training, network, curves, np.random.default_rng(0))


def test_the_manhattan_rule_moves_every_weight_by_one_step_up_or_down(small, small_network, blobs):
    learner = _learner("manhattan", small, small_network, "[rule.manhattan]\nbatch = 4\n")
    learner.initialise([np.zeros((a.n_inputs, a.n_outputs)) for a in learner.network.layers])
    before = learner.network.weights()
    sums = [np.zeros_like(w) for w in before]
    network = learner.network
    for x, y in zip(blobs.x_train[:4], np.eye(3)[blobs.y_train[:4]], strict=True):
        output, activities, s = network.forward_pass(x)
        for total, a, d in zip(sums, activities, network.errors(output, y, s), strict=True):
            total += np.outer(a, d)
        learner.learn(x, y)
    for layer, a, b, total in zip(network.layers, before, network.weights(), sums, strict=True):
        step = 2 * layer.weight_scale / 128  # both devices of a pair move
        assert b - a == pytest.approx(step * np.sign(total), abs=0.05 * step)


def test_progressive_updates_a_layer_before_the_next_error_is_read(small, small_network, blobs):
    learner = _learner("progressive", small, small_network)
    learner.initialise([np.zeros((a.n_inputs, a.n_outputs)) for a in learner.network.layers])
    learner.set_rate(0.5)
    order = []
    for k, layer in enumerate(learner.network.layers):
        for name in ("backward", "apply"):
            call = getattr(layer, name)
            setattr(
                layer, name,
                lambda value, call=call, k=k, name=name: order.append((name, k)) or call(value),
            )  # fmt: skip
    learner.learn(blobs.x_train[0], np.eye(3)[blobs.y_train[0]])
    assert order[:2] == [("apply", 1), ("backward", 1)]


def test_threshold_learning_keeps_ternary_levels_on_the_devices(
    small, small_network, device_file, blobs
):
    training = validate_text(
        'schema = 1\n[network]\nhidden = []\n[rule]\nmethod = "threshold"\n'
        "[rule.threshold]\nthreshold = 2.0\n[characterise]\npulses = 8\n",
        Training,
    )
    network = small_network(training, device=device_file("binary", states=1))
    curves, _ = measure_layers(training, network.layers)
    learner = make_learner(training, network, curves, np.random.default_rng(0))
    learner.initialise([np.random.default_rng(1).uniform(-0.2, 0.2, (7, 3))])
    start = learner.levels[0].copy()
    for x, y in zip(blobs.x_train[:60], np.eye(3)[blobs.y_train[:60]], strict=True):
        learner.learn(x, y)
    (weights,) = network.weights()
    assert (learner.levels[0] != start).any()
    assert np.abs(learner.levels[0] - start).max() >= 1
    assert weights / network.layers[0].weight_scale == pytest.approx(learner.levels[0], abs=1e-6)


def test_tiki_taka_hands_rows_of_the_fast_array_to_the_slow_one_in_turn(
    small, small_network, device_file, blobs
):
    training = validate_text(
        'schema = 1\n[network]\nhidden = []\n[rule]\nmethod = "tiki-taka"\ndead_zone = 0.0\n'
        "[rule.tiki_taka]\ntransfer_every = 5\ntransfer_rate = 1.0\nsymmetry_pulses = 200\n"
        "gamma = 0.5\n[schedule]\neta = 0.3\n",
        Training,
    )
    network = small_network(training, device=device_file("tiki", nu=3.0))
    assert len(network.matrices) == 2
    curves, _ = measure_layers(training, network.matrices)
    learner = make_learner(training, network, curves, np.random.default_rng(0))
    learner.initialise([np.zeros((7, 3))])
    slow, fast = network.layers[0], network.fast[0]
    assert np.abs(fast.weights()).max() < 0.05 * fast.weight_scale  # references at symmetry points
    slow_only = slow.weights() - 0.5 * fast.weights()
    learner.set_rate(0.3)
    for x, y in zip(blobs.x_train[:10], np.eye(3)[blobs.y_train[:10]], strict=True):
        learner.learn(x, y)
    moved = np.abs(slow.weights() - 0.5 * fast.weights() - slow_only) > 1e-6
    assert moved[2:].sum() == 0  # two transfers: of rows 0 and 1
    assert moved[:2].any()
    x = blobs.x_train[:3]
    assert slow.forward(np.c_[x, np.ones(3)]) == pytest.approx(
        np.c_[x, np.ones(3)] @ slow.weights(), abs=1e-6
    )


def test_open_loop_transfer_is_off_where_devices_differ(run_training, device_file):
    errors = {}
    for case in ("weight-transfer", "weight-transfer open-loop"):
        training = training_of(case, 2)
        _, result = run_training(
            training, load_dataset(training), device_file(case.replace(" ", "-"), step_d2d=0.5)
        )
        errors[case] = 1 - result.history.test_accuracy
    assert errors["weight-transfer open-loop"] > 1.2 * errors["weight-transfer"]


def test_weight_transfer_says_how_many_weights_were_cut(run_training, linear_device, blobs):
    training = validate_text(
        "schema = 1\nbaseline = false\n[network]\nhidden = [5]\nweight_scales = [0.5, 0.5]\n"
        '[rule]\nmethod = "weight-transfer"\n[schedule]\nepochs = 4\neta = 0.3\n',
        Training,
    )
    heard = []
    network, _ = run_training(
        training, blobs, linear_device, on_event=lambda kind, fields: heard.append((kind, fields))
    )
    finished = dict(heard)["finished"]
    assert finished["weights_cut"] > 0
    assert finished["devices_within_tolerance"] == finished["devices"] == 2 * (7 * 5 + 6 * 3)
    assert max(np.abs(w).max() for w in network.weights()) <= 0.5 * 1.05
