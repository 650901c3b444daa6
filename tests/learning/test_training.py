from __future__ import annotations

import numpy as np
import pytest

from hil.control.baseline import classify, float_backpropagation
from hil.control.learners.making import make_rule
from hil.control.learners.pair_updates import PairUpdates
from hil.control.placement import build_network, layer_sizes, lines_needed
from hil.control.preparation import initialise, pair_targets
from hil.control.refresh import Refresh
from hil.control.trainer import sample_orders
from hil.control.training import initial_weights, measure_layers, train
from hil.datasets.dataset import Dataset
from hil.errors import ConfigError, RunInterrupted
from hil.learning.schedule import ExponentialDecay
from hil.program import Phase


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        ("M1", ""),
        ("M2", ""),
        ("M3", ""),
        ("M3'", ""),
        ("M3", "slots = 2\nmax_slots = 32"),
        ("M1", 'trigger = "T1"\ntheta = 0.1'),
        ("M3", 'trigger = "T2"\ntheta_x = 0.5\ntheta_delta = 0.3'),
    ],
)
def test_training_through_pulses_learns(small, small_network, blobs, method, rule):
    training = small(method, rule=rule, epochs=8)
    network = small_network(training)
    result = train(training, blobs, network)
    first, last = result.history.epochs[0], result.history.epochs[-1]
    assert last.test_accuracy >= 0.9
    assert last.train_loss < first.train_loss
    assert first.write_pulses > 0
    assert network.layers[0].backend.ledger.device_pulses > result.history.total("write_pulses") / 3


def test_every_pulse_is_counted(small, small_network, blobs):
    training = small("M3", epochs=2, refresh="every = 20\nthreshold = 0.2\nfloor = 0.02")
    network = small_network(training)
    result = train(training, blobs, network)
    driven = sum(layer.backend.ledger.device_pulses for layer in network.layers)
    history = result.history
    counted = result.characterise_pulses + result.initial_pulses
    counted += history.total("write_pulses") + history.total("refresh_pulses")
    assert counted == driven
    assert history.total("reprogrammed_pairs") > 0


def test_the_same_seed_gives_the_same_training(small, small_network, blobs):
    def run(seed):
        training = small("M3", epochs=1, pulses=300).model_copy(
            update={"seed": seed, "baseline": False}
        )
        network = small_network(training, device="nonlinear")
        result = train(training, blobs, network)
        return result.history.epochs[0].train_loss, network.layers[0].backend.ledger.selected()

    (loss_a, pulses_a), (loss_b, pulses_b), (loss_c, _) = run(1), run(1), run(2)
    assert loss_a == loss_b
    assert (pulses_a == pulses_b).all()
    assert loss_a != loss_c


def test_float_backpropagation_learns_in_the_same_order(small, small_network, blobs):
    training = small(epochs=4)
    network = small_network(training)
    result = train(training, blobs, network)
    assert len(result.float_accuracy) == 4
    assert result.float_accuracy[-1] >= 0.95


def test_one_float_step_follows_the_gradient():
    rng = np.random.default_rng(1)
    x, y = rng.random((1, 3)), np.array([1])
    data = Dataset.checked("one", x, y, x, y, 2)
    w = [rng.uniform(-0.3, 0.3, (4, 2)), rng.uniform(-0.3, 0.3, (3, 2))]

    def loss(weights):
        h = np.clip((np.append(x[0], 1) @ weights[0]) / 4 + 0.5, 0, 1)
        out = np.clip((np.append(h, 1) @ weights[1]) / 4 + 0.5, 0, 1)
        return 0.5 * ((np.array([0, 1]) - out) ** 2).sum()

    eta, h = 1e-3, 1e-6
    new, _ = float_backpropagation(data, w, ExponentialDecay(eta), [np.array([0])])
    for k in range(2):
        for index in np.ndindex(*w[k].shape):
            up, down = [a.copy() for a in w], [a.copy() for a in w]
            up[k][index] += h
            down[k][index] -= h
            gradient = (loss(up) - loss(down)) / (2 * h)
            # The output's slope of 1/4 is left out of the error: 4 times the gradient.
            assert (new[k] - w[k])[index] == pytest.approx(-4 * eta * gradient, abs=1e-9)
    assert classify(new, x, bias=True).shape == (1,)


def _prepared(small, make_network, method, device, w, *, more="", **table):
    training = small(method, more=more, pulses=150 if device is None else 300)
    network = make_network(training, **({} if device is None else {"device": device}))
    curves, _ = measure_layers(training, network.layers)
    initialise(network.layers, curves, method, [np.zeros_like(x) for x in w])
    # Drive both devices of every pair towards the far end, the one of the weight further.
    for layer, curve, value in zip(network.layers, curves, w, strict=True):
        common = 0.45
        for u, start, sign in ((common + np.maximum(value, 0), 0.0, 0),
                               (common + np.maximum(-value, 0), 0.0, 1)):  # fmt: skip
            n = curve.pulses_up(start, u) if method == "M3" else -curve.pulses_down(1.0, 1 - u)
            zero = np.zeros_like(n)
            layer.program_pairs(*((n, zero) if sign == int(method != "M3") else (zero, n)))
    return network, Refresh(network.layers, curves, method, **table)


@pytest.mark.parametrize("method", ["M3", "M3'"])
@pytest.mark.parametrize(
    ("device", "table", "tolerance"),
    [
        (None, {}, 0.02),
        (None, {"mode": "write-verify"}, 0.02),
        ("nonlinear", {"mode": "write-verify", "passes": 4}, 0.08),
    ],
)
def test_refresh_keeps_weights_and_gives_range_back(
    small, small_network, method, device, table, tolerance
):
    rng = np.random.default_rng(6)
    w = [rng.uniform(-0.3, 0.3, shape) for shape in ((7, 5), (6, 3))]
    network, refresh = _prepared(small, small_network, method, device, w, **table)
    before = [(layer.weights(), layer.read_pairs()) for layer in network.layers]
    done = refresh.run()
    assert done.pairs > 20
    assert done.pulses > done.pairs
    for layer, (weights, pairs) in zip(network.layers, before, strict=True):
        low, window = layer.op.g_min_siemens, layer.window_siemens
        used = [(np.array(p) - low) / window for p in (pairs, layer.read_pairs())]
        if method == "M3'":
            used = [1 - u for u in used]
        due = used[0].max(axis=0) > 0.52
        assert due.any()
        assert used[1].max(axis=0)[due].max() < 0.36
        assert used[1].max() < 0.52
        change = np.abs(layer.weights() - weights) / layer.weight_scale
        assert np.median(change) <= tolerance / 2
        assert change.max() <= tolerance
    assert refresh.run().pairs <= done.pairs // 20


@pytest.mark.parametrize("method", ["M3", "M3'"])
@pytest.mark.parametrize("mode", ["open-loop", "write-verify"])
def test_refreshed_pairs_lie_above_the_base(small, small_network, method, mode):
    rng = np.random.default_rng(6)
    w = [rng.uniform(-0.3, 0.3, shape) for shape in ((7, 5), (6, 3))]
    table = {"base": 0.25, "floor": 0.3, "threshold": 0.4, "mode": mode}
    network, refresh = _prepared(small, small_network, method, None, w, **table)
    before = [layer.weights() for layer in network.layers]
    done = refresh.run()
    assert done.pairs == 53
    for layer, weights in zip(network.layers, before, strict=True):
        low, window = layer.op.g_min_siemens, layer.window_siemens
        u = (np.array(layer.read_pairs()) - low) / window
        if method == "M3'":
            u = 1 - u
        assert np.abs(u.min(axis=0) - 0.25).max() < 0.03
        assert np.abs(layer.weights() - weights).max() / layer.weight_scale < 0.02


def test_a_weight_that_leaves_no_room_for_the_base_is_kept_whole():
    w = np.array([0.9, -0.9, 0.1])
    for method in ("M3", "M3'"):
        plus, minus = pair_targets(method, w, 0.3)
        assert plus - minus == pytest.approx(w)
        assert min(plus.min(), minus.min()) >= 0.0
        assert max(plus.max(), minus.max()) <= 1.0


def test_refresh_leaves_pairs_alone_that_have_nothing_to_regain(small, small_network):
    training = small()
    network = small_network(training)
    curves, _ = measure_layers(training, network.layers)
    initialise(network.layers, curves, "M3", [np.full((7, 5), 0.5), np.full((6, 3), -0.5)])
    for layer, curve in zip(network.layers, curves, strict=True):
        up = curve.pulses_up(0.5, np.full((layer.n_inputs, layer.n_outputs), 0.8))
        sides = (up, np.zeros_like(up)) if layer is network.layers[0] else (np.zeros_like(up), up)
        layer.program_pairs(*sides)
    assert Refresh(network.layers, curves, "M3", threshold=0.5, floor=0.1).run().pairs == 0


def test_a_block_erase_programs_every_pair_of_the_block_again(small, open_site, blobs):
    training = small(more='[placement]\nlayers = "tiles"')
    from hil.geometry import THREE_TERMINAL, ArrayGeometry

    geometry = ArrayGeometry(13, 10, THREE_TERMINAL, block_rows=13)
    site = open_site(13, 10, device="gated-schottky", geometry=geometry)
    network = build_network(training, blobs, [site])
    curves, _ = measure_layers(training, network.layers)
    w = initial_weights(training, network)
    initialise(network.layers, curves, "M3", w)
    first, second = network.layers
    up = np.zeros((7, 5), dtype=np.int64)
    up[2, 3] = curves[0].full_up
    first.program_pairs(up, up)  # one pair of the first tile has used up its range
    before = [layer.weights() for layer in network.layers]
    done = Refresh(network.layers, curves, "M3", threshold=0.5, floor=0.1).run()
    assert done.pairs == 7 * 5 + 6 * 3  # the tiles share the block
    assert second.backend.ledger.selected_minus.min() >= 1
    plus, minus = first.read_pairs()
    share = (np.minimum(plus, minus) - first.op.g_min_siemens) / first.window_siemens
    assert share[2, 3] < 0.1
    for layer, weights in zip(network.layers, before, strict=True):
        assert np.median(np.abs(layer.weights() - weights)) / layer.weight_scale < 0.05


def test_pairs_on_two_arrays_learn_and_refresh(small, two_array_network, blobs):
    training = small("M3", epochs=6, refresh="every = 60\nthreshold = 0.2\nfloor = 0.05")
    network = two_array_network(training)
    result = train(training, blobs, network)
    assert result.history.test_accuracy >= 0.9
    assert result.history.total("reprogrammed_pairs") > 0
    assert all(b.ledger.device_pulses > 0 for layer in network.layers for b in layer.backends)


def test_methods_that_move_both_ways_have_no_refresh(small, small_network):
    training = small("M1")
    network = small_network(training)
    curves, _ = measure_layers(training, network.layers)
    with pytest.raises(ConfigError, match="no refresh"):
        Refresh(network.layers, curves, "M1")


def test_refresh_pulses_are_recorded_as_refresh(small, small_network):
    phases = []
    w = [np.full((7, 5), 0.2), np.full((6, 3), 0.2)]
    network, refresh = _prepared(small, small_network, "M3", None, w)
    backend = network.layers[0].backend
    add = backend.ledger.add
    backend.ledger.add = lambda block: phases.append(block.phase) or add(block)
    refresh.run()
    assert Phase.REFRESH in phases
    assert set(phases) <= {Phase.READ, Phase.REFRESH}


def test_a_stop_request_ends_the_training(small, small_network, blobs):
    training = small(epochs=2)
    network = small_network(training)

    def stop_soon(done, total):
        assert total == 240
        network.layers[0].backend.request_stop()

    with pytest.raises(RunInterrupted):
        train(training, blobs, network, on_progress=stop_soon)


def test_observers_hear_of_stages_epochs_and_the_response(small, small_network, blobs):
    training = small(epochs=2, more="")
    heard, stages = [], []
    train(
        training, blobs, small_network(training), on_stage=stages.append,
        on_event=lambda kind, fields: heard.append((kind, fields)),
    )  # fmt: skip
    assert stages == ["characterise", "initialise", "train", "float"]
    kinds = [kind for kind, _ in heard]
    assert kinds == ["response", "response", "initialised", "epoch", "epoch", "costs", "float"]
    epoch = dict(heard)["epoch"]
    assert epoch["epoch"] == 1
    assert 0 <= epoch["clipped_fraction"] < 1


def test_epochs_can_be_cut_and_evaluation_thinned(small, small_network, blobs):
    training = small(epochs=3).model_copy(update={"baseline": False})
    changed = training.model_copy(
        update={
            "schedule": training.schedule.model_copy(update={"samples": 10}),
            "evaluation": training.evaluation.model_copy(update={"every": 2}),
        }
    )
    history = train(changed, blobs, small_network(changed)).history
    assert np.isnan([e.test_accuracy for e in history.epochs]).tolist() == [True, False, False]


def test_orders_are_permutations(rng):
    orders = sample_orders(20, 3, None, rng)
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert not (orders[0] == orders[1]).all()
    assert len(sample_orders(20, 1, 7, rng)[0]) == 7


def test_a_data_set_that_does_not_fit_the_network_is_refused(small, small_network, blobs):
    training = small()
    network = small_network(training)
    wide = Dataset.checked("wide", np.zeros((4, 9)), np.arange(4) % 2, np.zeros((1, 9)), [0])
    with pytest.raises(ConfigError, match="9 features"):
        train(training, wide, network)
    with pytest.raises(ConfigError, match="rules for"):
        PairUpdates(network, [], [], "M3", np.random.default_rng(0))


def test_a_users_rule_of_the_training_file_is_used(small, small_network, blobs):
    training = small(
        rule='rule = "tests.learning.test_rules:EveryPair"\n[rule.options]\noutput = 1', epochs=1
    )
    network = small_network(training)
    curves, _ = measure_layers(training, network.layers)
    rule = make_rule(training, 4.0, curves[0])
    assert type(rule).__name__ == "EveryPair"
    assert layer_sizes(training, blobs) == [(7, 5), (6, 3)]
    assert lines_needed((7, 5)) == (7, 10)


def test_targets_of_a_pair_differ_by_the_weight():
    w = np.linspace(-0.5, 0.5, 5)
    for method in ("M1", "M2", "M3", "M3'"):
        plus, minus = pair_targets(method, w)
        assert plus - minus == pytest.approx(w)
        assert min(plus.min(), minus.min()) >= 0
        assert max(plus.max(), minus.max()) <= 1
