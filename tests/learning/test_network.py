from __future__ import annotations

import numpy as np
import pytest

from hil.control.array import SynapseArray
from hil.control.network import ArrayNetwork
from hil.control.placement import build_network, layer_sizes, place_layers
from hil.control.preparation import initialise, pair_targets
from hil.control.response import ResponseMeasurement, measure_response
from hil.control.training import initial_weights, measure_layers
from hil.errors import BackendError, ConfigError, GeometryError, ProtocolError
from hil.geometry import ArrayGeometry
from hil.learning.methods import METHODS
from hil.learning.neuron import hard_sigmoid, output_error, slope
from hil.learning.rule import UpdateSlots
from hil.pairs import PairMap


def whole_array(site):
    rows, cols = site.backend.geometry.shape
    pairs = PairMap.build("adjacent", site.backend.geometry, rows, cols // 2)
    return SynapseArray(site.backend, site.op, pairs)


def numpy_forward(weights, x):
    y = x
    for w in weights:
        y = hard_sigmoid(y @ w[:-1] + w[-1])
    return y


@pytest.fixture
def network(small, small_network):
    training = small()
    made = small_network(training)
    curves, _ = measure_layers(training, made.layers)
    initialise(made.layers, curves, "M3", initial_weights(training, made))
    return made


def test_forward_is_numpys_on_an_ideal_device(network, blobs):
    weights = network.weights()
    y = network.forward(blobs.x_test)
    assert y == pytest.approx(numpy_forward(weights, blobs.x_test), abs=1e-6)
    assert network.forward(blobs.x_test[0]) == pytest.approx(y[0], abs=1e-9)


def test_the_bias_row_is_always_on(network, blobs):
    weights = network.weights()
    assert weights[0].shape == (7, 5)
    at_zero = network.layers[0].forward(np.append(np.zeros(6), 1.0))
    assert at_zero == pytest.approx(weights[0][-1], abs=1e-6)
    expected = hard_sigmoid(weights[0][-1]) @ weights[1][:-1] + weights[1][-1]
    assert network.forward(np.zeros(6)) == pytest.approx(hard_sigmoid(expected), abs=1e-6)


def test_classify_is_the_largest_sum_in_batches_of_any_size(network, blobs):
    whole = network.classify(blobs.x_test, batch=1000)
    assert (network.classify(blobs.x_test, batch=7) == whole).all()


class Watching:
    """Keeps what the network gives its rules, and pulses nothing."""

    def __init__(self):
        self.seen = []

    def slots(self, x, delta, rng):
        self.seen.append((x, delta))
        return ()


def test_errors_are_back_propagated_through_the_arrays(network, blobs):
    weights = network.weights()
    rules = [Watching(), Watching()]
    target = np.array([0.0, 1.0, 0.0])
    x = blobs.x_train[4]
    y, pulses = network.learn(x, target, rules, np.random.default_rng(0))
    s = x @ weights[0][:-1] + weights[0][-1]
    delta = output_error(y, target)
    assert pulses == 0
    assert rules[1].seen[0][1] == pytest.approx(delta)
    assert rules[1].seen[0][0] == pytest.approx(np.append(hard_sigmoid(s), 1.0), abs=1e-6)
    assert rules[0].seen[0][1] == pytest.approx(slope(s) * (weights[1] @ delta)[:-1], abs=1e-6)
    assert rules[0].seen[0][0].tolist() == [*x, 1.0]


class UpOnce:
    """One potentiation of every plus device."""

    def slots(self, x, delta, rng):
        bits = np.ones((1, delta.size), np.bool_)
        return [UpdateSlots(1, np.ones((1, x.size), np.bool_), bits, ~bits)]


def test_a_users_rule_drives_the_array(network):
    before = network.weights()
    _, pulses = network.learn(
        np.zeros(6), np.zeros(3), [UpOnce(), UpOnce()], np.random.default_rng(0)
    )
    assert pulses == 7 * 5 + 6 * 3
    for layer, a, b in zip(network.layers, before, network.weights(), strict=True):
        step = layer.weight_scale / 128
        assert b - a == pytest.approx(np.full(a.shape, step), rel=0.02)


def test_a_rule_that_returns_nonsense_is_named(network):
    class Wrong:
        def slots(self, x, delta, rng):
            return [UpdateSlots(1, np.ones((1, 2), np.bool_), *np.ones((2, 1, 3), np.bool_))]

    from hil.errors import RuleError

    with pytest.raises(RuleError, match="rows has shape"):
        network.learn(np.zeros(6), np.ones(3), [Wrong(), Wrong()], np.random.default_rng(0))


@pytest.mark.parametrize("method", METHODS)
def test_initial_weights_are_programmed_around_the_methods_common_mode(
    small, small_network, method
):
    training = small(method)
    network = small_network(training)
    curves, _ = measure_layers(training, network.layers)
    weights = initial_weights(training, network)
    assert initialise(network.layers, curves, method, weights) > 0
    for layer, w in zip(network.layers, weights, strict=True):
        plus, minus = layer.read_pairs()
        u_plus, u_minus = pair_targets(method, w)
        low, window = layer.op.g_min_siemens, layer.window_siemens
        assert (plus - low) / window == pytest.approx(u_plus, abs=0.02)
        assert (minus - low) / window == pytest.approx(u_minus, abs=0.02)
        assert layer.weights() == pytest.approx(layer.weight_scale * w, abs=0.02 * 8)


def test_a_network_of_one_layer_learns_too(open_site, blobs):
    from tests.learning.conftest import training

    one = training("[network]\nhidden = []\nbias = false\n")
    assert layer_sizes(one, blobs) == [(6, 3)]
    network = build_network(one, blobs, [open_site(6, 6)])
    assert network.n_features == 6
    assert network.forward(blobs.x_test).shape == (30, 3)


def test_tiles_of_one_array_are_the_same_network_as_separate_arrays(small, open_site, blobs):
    from hil.control.training import train

    results = []
    for how, sites in (
        ("arrays", [open_site(7, 10), open_site(6, 6)]),
        ("tiles", [open_site(13, 10)]),
    ):
        training = small(epochs=1, more=f'[placement]\nlayers = "{how}"')
        network = build_network(training, blobs, sites)
        results.append((train(training, blobs, network), network.weights()))
    (a, w_a), (b, w_b) = results
    assert a.history.test_accuracy == b.history.test_accuracy
    for x, y in zip(w_a, w_b, strict=True):
        assert x == pytest.approx(y, abs=1e-9)


def test_layers_are_placed_below_or_beside_one_another_off_dead_cells():
    sizes = [(7, 5), (6, 3)]
    tall, wide = ArrayGeometry(13, 10), ArrayGeometry(7, 16)
    below = place_layers(sizes, [(tall, "adjacent")])
    assert [int(tile.rows.min()) for _, tile in below] == [0, 7]
    beside = place_layers(sizes, [(wide, "halves")])
    assert [int(tile.plus_cols.min()) for _, tile in beside] == [0, 10]
    dead = ArrayGeometry.with_dead_cells(15, 10, [(2, 1)])
    for _, tile in place_layers(sizes, [(dead, "adjacent")]):
        tile.check(dead)
        assert 2 not in tile.rows


@pytest.mark.parametrize(
    ("sites", "how", "message"),
    [
        ([(7, 10)], "auto", "do not fit as tiles"),
        ([(7, 10)], "arrays", "as many arrays"),
        ([(7, 10), (5, 6)], "arrays", "layer 1"),
        ([(13, 9)], "tiles", "do not fit"),
    ],
)
def test_layers_that_do_not_fit_are_refused(sites, how, message):
    geometries = [(ArrayGeometry(*size), "adjacent") for size in sites]
    with pytest.raises(ConfigError, match=message):
        place_layers([(7, 5), (6, 3)], geometries, how)


def test_a_shared_reference_column_is_for_m2_only(small, open_site, blobs):
    sites = [open_site(7, 6, pairs="reference"), open_site(6, 4, pairs="reference")]
    with pytest.raises(ConfigError, match="M2"):
        build_network(small("M3"), blobs, sites)
    network = build_network(small("M2"), blobs, sites)
    assert network.layers[0].pairs.kind == "reference"


def test_layers_that_do_not_follow_one_another_are_refused(open_site):
    site = open_site(7, 10)
    layer = SynapseArray(
        site.backend, site.op, PairMap.build("adjacent", site.backend.geometry, 7, 5)
    )
    with pytest.raises(ConfigError, match="layer 0 has 5 outputs"):
        ArrayNetwork([layer, layer])
    with pytest.raises(ConfigError, match="at least one layer"):
        ArrayNetwork([])


def test_inputs_of_the_wrong_shape_are_refused(network):
    for wrong in (np.zeros(5), np.zeros((2, 7)), np.zeros((1, 1, 6))):
        with pytest.raises(ProtocolError, match="shape"):
            network.forward(wrong)


def test_the_measured_response_is_the_devices(open_site):
    site = open_site(20, 12, device="nonlinear", seed=4)
    curve = measure_response(whole_array(site), devices=8, pulses=300, cycles=2, reads=2)
    nu, n = 3.0, 256
    u = lambda k: (1 - np.exp(-nu * k / n)) / (1 - np.exp(-nu))  # noqa: E731
    k = np.arange(0, 200, 20)
    assert curve.up[k] == pytest.approx(u(k), abs=0.05)  # d2d of 10 %, mean of 8 devices
    assert curve.down[k] == pytest.approx(1 - u(k), abs=0.05)
    assert (np.diff(curve.up) >= 0).all()
    assert (np.diff(curve.down) <= 0).all()
    assert curve.step_up == pytest.approx(1 / n, rel=0.1)
    assert curve.step_down == pytest.approx(1 / n, rel=0.1)


def test_pulse_counts_invert_the_measured_response(open_site):
    site = open_site(8, 8, device="nonlinear", seed=4)
    curve = measure_response(whole_array(site), devices=8, pulses=300)
    targets = np.linspace(curve.low, 0.9, 7)
    counts = curve.pulses_up(curve.low, targets)
    assert curve.up[counts] == pytest.approx(targets, abs=0.01)
    assert curve.pulses_down(0.9, np.array([0.9])).tolist() == [0]
    down = curve.pulses_down(float(curve.down[0]), targets)
    assert curve.down[down] == pytest.approx(targets, abs=0.01)


def test_devices_that_do_not_respond_are_reported(open_site):
    from dataclasses import replace

    site = open_site(8, 8)
    weak = replace(site.op, potentiate_v=0.5, depress_v=-0.5)
    with pytest.raises(BackendError, match="did not raise"):
        measure_response(whole_array(replace(site, op=weak)), devices=2, pulses=10)


def test_devices_to_characterise_must_be_in_different_rows():
    with pytest.raises(ProtocolError, match="different rows"):
        ResponseMeasurement(np.array([[0, 1], [0, 2]]), 10)
    with pytest.raises(GeometryError):
        PairMap.build("adjacent", ArrayGeometry(2, 2), 3, 1)
