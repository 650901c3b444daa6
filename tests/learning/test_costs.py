"""What a training cost its devices, and steps that are measured column by column."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.control.costs import ENERGY_NOTE, CostMeter
from hil.control.placement import build_network, layer_sizes, lines_needed
from hil.control.response import measure_columns
from hil.control.training import train
from hil.errors import BackendError
from hil.geometry import ArrayGeometry
from tests.control.ohmic import OhmicBackend


def test_costs_are_those_of_the_epochs_alone(small, small_network, blobs):
    training = small("M3", epochs=2, refresh="every = 20\nthreshold = 0.2\nfloor = 0.02")
    network = small_network(training)
    heard = []
    result = train(training, blobs, network, on_event=lambda kind, f: heard.append((kind, f)))
    costs, history = result.history.costs, result.history
    ledgers = [layer.backend.ledger for layer in network.layers]
    assert costs.devices == 2 * (7 * 5 + 6 * 3)
    assert costs.write_pulses == history.total("write_pulses")
    assert costs.refresh_pulses == history.total("refresh_pulses")
    driven = sum(ledger.device_pulses for ledger in ledgers)
    before = result.characterise_pulses + result.initial_pulses
    assert costs.write_pulses + costs.refresh_pulses == driven - before
    assert costs.write_pulses_per_device == pytest.approx(costs.write_pulses / costs.devices)
    assert 0 < costs.most_pulses_on_a_device <= max(x.selected().max() for x in ledgers)
    assert 0 < costs.half_selects <= sum(x.half_selected().sum() for x in ledgers)
    assert costs.most_half_selects_on_a_device <= costs.half_selects
    assert costs.read_pulses > 240
    event = dict(heard)["costs"]
    assert event["energy"] == ENERGY_NOTE
    assert event["energy_joule"] == costs.energy_joule


def test_energy_is_voltage_squared_times_conductance_and_time(open_site, small, blobs):
    training = small("M1")
    sites = [open_site(*lines_needed(size)) for size in layer_sizes(training, blobs)]
    layer = build_network(training, blobs, sites).layers[0]
    meter = CostMeter([layer])
    g0 = np.mean(layer.read_pairs()[0])
    counts = np.full((7, 5), 40)
    layer.program_pairs(counts, np.zeros_like(counts))
    g1 = np.mean(layer.read_pairs()[0])
    meter.mark()
    costs = meter.costs(35 * 40, 0)
    selected = 35 * 40 * 2.0**2 * 1e-6 * (g0 + g1) / 2
    assert costs.selected_joule == pytest.approx(selected, rel=0.01)
    assert costs.most_pulses_on_a_device == 40
    # One row at a time: the 5 other devices of its columns' pairs see V/2, and all other rows.
    assert costs.energy_joule > costs.selected_joule


@pytest.fixture
def uneven(small, blobs):
    """A 3-input, 2-output pair array on an ohmic backend whose columns step differently."""

    class Uneven(OhmicBackend):
        def _execute(self, block):
            before = self.g.copy()
            readings = super()._execute(block)
            self.g = np.clip(before + (self.g - before) * self.gains, 0, 1e-3)
            return readings

    def make(gains):
        from hil.control.array import SynapseArray
        from hil.operating import OperatingPoint
        from hil.pairs import PairMap

        geometry = ArrayGeometry(3, 4)
        backend = Uneven(np.full((3, 4), 1e-5), geometry=geometry)
        backend.gains = np.array(gains)
        op = replace(
            OperatingPoint(), potentiate_v=1.0, depress_v=-1.0, g_min_siemens=1e-6,
            g_max_siemens=1e-3,
        )  # fmt: skip
        backend.open()
        return SynapseArray(backend, op, PairMap.build("adjacent", geometry, 3, 2))

    return make


def test_the_step_of_every_column_is_measured_through_pulses(uneven):
    array = uneven([0.5, 1.0, 1.5, 1.0])
    steps = measure_columns(array, 20)
    assert steps.up_plus == pytest.approx([0.5e-6, 1.5e-6], rel=1e-6)
    assert steps.up_minus == pytest.approx([1e-6, 1e-6], rel=1e-6)
    assert steps.down_plus == pytest.approx([0.5e-6, 1.5e-6], rel=1e-6)
    assert steps.symmetric().up_plus == pytest.approx([0.75e-6, 1.25e-6], rel=1e-6)
    larger, smaller = steps.relative("M3")
    assert larger == pytest.approx([0.5, 1.5], rel=1e-6)
    assert smaller == pytest.approx([1.0, 1.0], rel=1e-6)


def test_a_column_that_does_not_move_has_no_rate(uneven):
    with pytest.raises(BackendError, match="rate per column"):
        measure_columns(uneven([0.0, 1.0, 1.0, 1.0]), 10)


@pytest.mark.parametrize("method", ["M1", "M2", "M3", "M3'", "M3c"])
def test_a_training_with_a_rate_per_column_learns(small, small_network, blobs, method):
    training = small(method, epochs=8, rule='rate = "column"')
    network = small_network(training)
    result = train(training, blobs, network)
    assert result.history.test_accuracy >= 0.9
    driven = sum(layer.backend.ledger.device_pulses for layer in network.layers)
    counted = result.characterise_pulses + result.initial_pulses
    counted += result.history.total("write_pulses") + result.history.total("refresh_pulses")
    assert counted == driven
