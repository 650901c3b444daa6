"""M3c: pairs exchange their devices, and keep their weights."""

from __future__ import annotations

import numpy as np
import pytest

from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.placement import build_network
from hil.control.preparation import initialise
from hil.control.refresh import Refresh
from hil.control.roles import ExchangingArray
from hil.control.training import initial_weights, measure_layers, train
from hil.datasets.sources import load_dataset
from hil.errors import ConfigError, ProtocolError, RuleError
from hil.geometry import THREE_TERMINAL, ArrayGeometry
from hil.learning.rule import UpdateSlots
from hil.phases.writing import program_columns, program_counts


@pytest.fixture
def chopped(small, small_network):
    """Make an initialised M3c network and its refresh."""

    def make(device=None, mode="write-verify"):
        training = small("M3c")
        network = small_network(training, **({} if device is None else {"device": device}))
        curves, _ = measure_layers(training, network.layers)
        initialise(network.layers, curves, "M3", initial_weights(training, network))
        return network, Refresh(network.layers, curves, "M3", mode=mode)

    return make


def test_exchanged_devices_change_the_sign_of_their_column(chopped, rng):
    network, _ = chopped()
    layer = network.layers[0]
    assert isinstance(layer, ExchangingArray)
    before, x, d = layer.weights(), rng.random(7), rng.uniform(-1, 1, 5)
    layer.exchange([1, 3])
    expected = before * np.array([1, -1, 1, -1, 1])
    assert layer.weights() == pytest.approx(expected)
    assert layer.forward(x) == pytest.approx(x @ expected, abs=1e-6)
    assert layer.backward(d) == pytest.approx(expected @ d, abs=1e-6)
    which = rng.random(before.shape) < 0.5
    for some, side in zip(layer.reader_of(which)(), layer.read_pairs(), strict=True):
        assert some == pytest.approx(side[which])
    layer.exchange(np.array([1, 3]))
    assert layer.weights() == pytest.approx(before)


def test_pulses_follow_the_roles_of_the_devices(chopped):
    network, _ = chopped()
    layer = network.layers[0]
    layer.exchange(np.arange(5))
    before = layer.weights()
    up = np.ones((1, 5), np.bool_)
    layer.apply([UpdateSlots(1, np.ones((1, 7), np.bool_), up, ~up)])
    assert (layer.weights() > before).all()
    counts = np.full((7, 5), 3)
    layer.program_pairs(counts, 0 * counts)
    assert layer.weights() - before == pytest.approx(np.full((7, 5), 4 * 4.0 / 128), rel=0.02)


def test_columns_are_read_as_the_whole_array_is(chopped):
    network, _ = chopped()
    layer = network.layers[1]
    layer.exchange([2])
    whole = layer.read_pairs()
    columns = layer.read_columns(np.array([2, 0]))
    for side, part in zip(whole, columns, strict=True):
        assert part == pytest.approx(side[:, [2, 0]], rel=1e-6)


def test_wrong_arguments_are_named_as_without_exchange(chopped):
    network, _ = chopped()
    layer = network.layers[0]
    layer.exchange([0])
    with pytest.raises(ProtocolError, match="expected"):
        layer.backward(np.zeros(4))
    with pytest.raises(RuleError, match="rows has shape"):
        layer.apply([UpdateSlots(1, np.ones((1, 2), np.bool_), *np.ones((2, 1, 5), np.bool_))])
    with pytest.raises(RuleError, match="sequence"):
        layer.apply(None)


@pytest.mark.parametrize("mode", ["open-loop", "write-verify"])
def test_an_exchange_in_rotation_keeps_every_weight(chopped, mode):
    network, refresh = chopped(mode=mode)
    before = network.weights()
    done = refresh.exchange()
    assert done.pairs == 7
    assert network.layers[0].exchanged.tolist() == [True] + [False] * 4
    for _ in range(7):
        done += refresh.exchange()
    assert all(layer.exchanged.all() for layer in network.layers)
    assert done.pairs == 7 * 5 + 6 * 3
    for layer, a, b in zip(network.layers, before, network.weights(), strict=True):
        assert b == pytest.approx(a, abs=1.1 * layer.weight_scale / 128)
    refresh.exchange()
    assert network.layers[0].exchanged.tolist() == [False] + [True] * 4


def test_write_verify_finds_the_weight_again_on_devices_that_step_differently(chopped, device_file):
    device = device_file("d2d", step_d2d=0.3)
    error = {}
    for mode in ("open-loop", "write-verify"):
        network, refresh = chopped(device, mode)
        before = network.weights()
        for _ in range(8):
            refresh.exchange()
        error[mode] = np.sqrt(np.mean(np.concatenate([
            ((b - a) / layer.weight_scale).ravel() ** 2
            for layer, a, b in zip(network.layers, before, network.weights(), strict=True)
        ])))  # fmt: skip
    assert error["write-verify"] < 0.01
    assert error["write-verify"] < error["open-loop"] / 2


def test_block_erase_exchanges_all_columns_in_one_go(small, open_site, blobs):
    training = small("M3c", more='[placement]\nlayers = "tiles"')
    geometry = ArrayGeometry(13, 10, THREE_TERMINAL, block_rows=13)
    site = open_site(13, 10, device="gated-schottky", geometry=geometry)
    network = build_network(training, blobs, [site])
    curves, _ = measure_layers(training, network.layers)
    initialise(network.layers, curves, "M3", initial_weights(training, network))
    before = network.weights()
    refresh = Refresh(network.layers, curves, "M3", mode="write-verify")
    done = refresh.exchange()
    assert done.pairs == 7 * 5 + 6 * 3
    assert all(layer.exchanged.all() for layer in network.layers)
    assert sum(refresh.exchange().pairs for _ in range(7)) == 0  # the other columns' turns
    for layer, a, b in zip(network.layers, before, network.weights(), strict=True):
        assert np.median(np.abs(b - a)) / layer.weight_scale < 0.02


def test_pairs_on_two_arrays_exchange_their_devices(small, two_array_network, blobs):
    training = small("M3c", epochs=6, refresh="exchange_every = 10")
    network = two_array_network(training)
    result = train(training, blobs, network)
    assert result.history.test_accuracy >= 0.9
    assert result.history.total("reprogrammed_pairs") >= 72 * 6


def test_other_pairs_cannot_exchange_their_devices(small, small_network):
    training = small()
    network = small_network(training)
    curves, _ = measure_layers(training, network.layers)
    with pytest.raises(ConfigError, match="cannot exchange"):
        Refresh(network.layers, curves, "M3").exchange()


def test_a_pair_with_a_stuck_device_is_not_refreshed_for_ever(chopped):
    network, refresh = chopped()
    layer = network.layers[0]
    plus, minus = (np.full((7, 5), 0.8), np.full((7, 5), 0.7))
    due = [bool(refresh._due(layer, plus, minus).any()) for _ in range(6)]
    assert due == [True] * 4 + [False] * 2
    low = np.zeros((7, 5))
    assert not refresh._due(layer, low, low).any()
    assert refresh._due(layer, plus, minus).all()


def test_columns_get_the_pulses_that_rows_would(open_site, rng):
    counts = rng.integers(0, 5, (6, 3)) * rng.integers(0, 2, (6, 3))
    cols = np.array([4, 1, 2])
    whole = np.zeros((6, 5), dtype=np.int64)
    whole[:, cols] = counts
    sites = [open_site(6, 5) for _ in range(2)]
    blocks = [
        program_columns(sites[0].backend.geometry, sites[0].op, cols, counts),
        program_counts(sites[1].backend.geometry, sites[1].op, whole),
    ]
    for site, block in zip(sites, blocks, strict=True):
        list(site.backend.run([block]))
    by_column, by_row = (site.backend.ledger.selected() for site in sites)
    assert (by_column == whole).all()
    assert (by_row == whole).all()
    with pytest.raises(ProtocolError, match="both signs"):
        program_columns(sites[0].backend.geometry, sites[0].op, cols, counts - 2)
    with pytest.raises(ProtocolError, match="shape"):
        program_columns(sites[0].backend.geometry, sites[0].op, cols, counts[:5])


def test_exchanging_devices_compensates_device_to_device_variation(run_training, device_file):
    """One seed on digits; the prototype on MNIST found 95.4 %, 90.8 % and 95.2 ... 95.4 %."""

    def accuracy(method, sigma, more=""):
        training = validate_text(
            "schema = 1\nseed = 2\nbaseline = false\n"
            "[dataset]\nsplit_seed = 1\ntrain_limit = 800\n[network]\nhidden = [16]\n"
            f'[rule]\nmethod = "{method}"\n{more}[schedule]\nepochs = 4\neta = 0.1\n',
            Training,
        )
        device = device_file(f"sigma-{sigma}", step_d2d=sigma)
        return run_training(training, load_dataset(training), device)[1].history

    ideal, plain = accuracy("M3", 0.0), accuracy("M3", 0.3)
    chopped = accuracy("M3c", 0.3, "[refresh]\nexchange_every = 20\n")
    assert chopped.test_accuracy >= ideal.test_accuracy - 0.04
    assert chopped.test_accuracy >= plain.test_accuracy + 0.1
    assert chopped.costs.refresh_pulses > plain.costs.refresh_pulses  # what it costs
