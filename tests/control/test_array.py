from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ohmic import OhmicBackend

from hil.capabilities import Capabilities, Range
from hil.control.array import SynapseArray
from hil.errors import ConfigError, GeometryError, LimitError, ProtocolError, RuleError
from hil.geometry import ArrayGeometry
from hil.learning.rule import UpdateSlots
from hil.limits import SafetyLimits
from hil.operating import OperatingPoint
from hil.pairs import PairMap
from hil.program import Phase

G_MAX = 100e-6
KINDS = ["adjacent", "halves", "reference", "two-arrays"]


def operating_point(**changes):
    return OperatingPoint(g_min_siemens=0.0, g_max_siemens=G_MAX, count_levels=1000, **changes)


def make_array(rng, kind="adjacent", n_in=5, n_out=3, capabilities=None, limits=None, **op):
    n_cols = 8 if kind in ("adjacent", "halves") else 5
    geometry = ArrayGeometry(n_in + 1, n_cols)
    g = rng.uniform(1e-6, G_MAX, geometry.shape)
    pairs = PairMap.build(kind, geometry, n_in, n_out, row=1, col=1)
    backend = OhmicBackend(g, capabilities, limits)
    minus = OhmicBackend(rng.uniform(1e-6, G_MAX, geometry.shape), capabilities)
    backend.open()
    minus.open()
    array = SynapseArray(
        backend, operating_point(**op), pairs, weight_scale=2.0, minus_backend=minus
    )
    other = minus.g if kind == "two-arrays" else backend.g
    plus = backend.g[np.ix_(pairs.rows, pairs.plus_cols)]
    minus_g = other[np.ix_(pairs.rows, pairs.minus_cols)]
    return array, 2.0 * (plus - minus_g) / G_MAX


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coding", ["width", "amplitude", "count"])
def test_forward_is_the_product_with_the_weights(rng, kind, coding):
    array, weights = make_array(rng, kind, coding=coding)
    x = rng.uniform(0, 1, (7, 5))
    tolerance = 2e-3 if coding == "count" else 1e-6
    np.testing.assert_allclose(array.forward(x), x @ weights, atol=tolerance)
    np.testing.assert_allclose(array.forward(x[0]), x[0] @ weights, atol=tolerance)
    np.testing.assert_allclose(array.forward(-x), -x @ weights, atol=tolerance)


@pytest.mark.parametrize("parallel_sense", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_of_some_pairs_reads_their_devices_and_no_others(rng, kind, parallel_sense):
    array, _ = make_array(rng, kind, capabilities=Capabilities(parallel_sense=parallel_sense))
    which = rng.random((5, 3)) < 0.4
    every = array.read_pairs()
    backends = {runner.backend for runner in array._sides}
    for backend in backends:
        backend.driven.clear()
    read = array.reader_of(which)
    for _ in range(2):
        for some, side in zip(read(), every, strict=True):
            np.testing.assert_allclose(some, side[which])
    readings = sum(int(b.sense.sum()) for backend in backends for b in backend.driven)
    shared = kind == "reference"  # its devices are those of a row, whatever the pair
    assert readings == 2 * (which.sum() + (which.any(axis=1).sum() if shared else which.sum()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coding", ["width", "amplitude", "count"])
def test_backward_is_the_product_with_the_transpose(rng, kind, coding):
    array, weights = make_array(rng, kind, coding=coding)
    d = rng.normal(0, 3, (4, 3))
    tolerance = 2e-2 if coding == "count" else 1e-5
    np.testing.assert_allclose(array.backward(d), d @ weights.T, atol=tolerance)
    np.testing.assert_allclose(array.backward(d[1]), d[1] @ weights.T, atol=tolerance)
    np.testing.assert_array_equal(array.backward(np.zeros(3)), np.zeros(5))


@pytest.mark.parametrize(
    ("per_line_width", "parallel_sense"), list(product([True, False], [True, False]))
)
def test_a_backend_that_lacks_a_feature_gives_the_same_products(
    rng, per_line_width, parallel_sense
):
    caps = Capabilities(per_line_width=per_line_width, parallel_sense=parallel_sense)
    array, weights = make_array(rng, capabilities=caps)
    x, d = rng.uniform(0, 1, (3, 5)), rng.normal(size=(3, 3))
    np.testing.assert_allclose(array.forward(x), x @ weights, atol=1e-6)
    np.testing.assert_allclose(array.backward(d), d @ weights.T, atol=1e-6)
    for block in array.backend.driven:
        assert parallel_sense or block.sense.sum(axis=1).max() <= 1
        assert per_line_width or block.width_s.ndim == 1


def test_a_batch_longer_than_a_block_may_be_is_cut(rng):
    array, weights = make_array(rng, capabilities=Capabilities(max_steps=4))
    x = rng.uniform(0, 1, (11, 5))
    np.testing.assert_allclose(array.forward(x), x @ weights, atol=1e-6)
    assert [b.n_steps for b in array.backend.driven] == [4, 4, 3]
    array.backward(rng.normal(size=(3, 3)))
    assert [b.n_steps for b in array.backend.driven[3:]] == [4, 2]


@pytest.mark.parametrize(
    "bad", [np.full(5, np.nan), np.full(5, 1.5), np.zeros(4), np.zeros((1, 1, 5))]
)
def test_bad_activities_are_refused_and_nothing_is_driven(rng, bad):
    array, _ = make_array(rng)
    with pytest.raises(ProtocolError):
        array.forward(bad)
    assert array.backend.driven == []


def test_read_gives_the_conductance_of_every_device(rng):
    array, _ = make_array(rng)
    np.testing.assert_allclose(array.read(), array.backend.g, rtol=1e-6)
    part = array.read(rows=[1], cols=[0, 2], repeat=3)
    np.testing.assert_allclose(part[1, [0, 2]], array.backend.g[1, [0, 2]], rtol=1e-6)
    assert np.isnan(part).sum() == part.size - 2
    with pytest.raises(GeometryError, match="row 3 … 9 is not within 0 … 5"):
        array.read(rows=[3, 9])


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_the_scaled_differences_of_the_pairs(rng, kind):
    array, weights = make_array(rng, kind)
    np.testing.assert_allclose(array.weights(), weights, atol=1e-9)


def test_weights_without_a_known_window_are_refused(rng):
    backend = OhmicBackend(np.full((2, 2), 1e-6))
    with backend:
        array = SynapseArray(
            backend, OperatingPoint(), PairMap.build("adjacent", backend.geometry, 2, 1)
        )
        with pytest.raises(ConfigError, match=r"drive\.g_max"):
            array.forward([0.5, 0.5])


@pytest.mark.parametrize("kind", ["adjacent", "halves", "two-arrays"])
@pytest.mark.parametrize("scheme", ["v/2", "v/3", "float"])
def test_an_update_pulses_exactly_the_coincident_devices(rng, kind, scheme):
    array, before = make_array(rng, kind, inhibit=scheme)
    rows, plus = rng.random((4, 5)) < 0.5, rng.random((4, 3)) < 0.4
    minus = (rng.random((4, 3)) < 0.5) & ~plus
    pulses = array.apply([UpdateSlots(1, rows, plus, minus)])
    coincident = np.einsum("si,sj->ij", rows.astype(int), plus.astype(int) - minus.astype(int))
    total = np.einsum("si,sj->", rows.astype(int), plus.astype(int) + minus.astype(int))
    assert pulses == total
    change = array.weights() - before
    np.testing.assert_allclose(change, coincident * 2.0 * 1e-6 / G_MAX, atol=1e-9)


def test_a_depressing_update_lowers_the_selected_devices(rng):
    array, before = make_array(rng)
    on = np.ones((1, 5), bool), np.array([[True, False, False]]), np.zeros((1, 3), bool)
    array.apply([UpdateSlots(-1, *on)])
    change = array.weights() - before
    np.testing.assert_allclose(change[:, 0], -2.0 * 1e-6 / G_MAX, atol=1e-9)
    np.testing.assert_allclose(change[:, 1:], 0.0, atol=1e-9)


def test_an_update_without_coincidence_drives_nothing(rng):
    array, _ = make_array(rng)
    none = np.zeros((2, 5), bool), np.ones((2, 3), bool), np.ones((2, 3), bool)
    assert array.apply([UpdateSlots(1, *none)]) == 0
    assert array.backend.driven == []


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        (
            UpdateSlots(0, np.ones((1, 5), bool), np.ones((1, 3), bool), np.ones((1, 3), bool)),
            "polarity",
        ),
        (
            UpdateSlots(1, np.ones((1, 4), bool), np.ones((1, 3), bool), np.ones((1, 3), bool)),
            r"\(1, 5\)",
        ),
        (UpdateSlots(1, np.ones((1, 5)), np.ones((1, 3), bool), np.ones((1, 3), bool)), "boolean"),
        (
            UpdateSlots(1, np.ones((2, 5), bool), np.ones((1, 3), bool), np.ones((2, 3), bool)),
            r"\(2, 3\)",
        ),
    ],
)
def test_slots_of_a_wrong_rule_are_refused(rng, slots, message):
    array, _ = make_array(rng)
    with pytest.raises(RuleError, match=message):
        array.apply([slots])
    assert array.backend.driven == []


def test_program_gives_every_device_its_count(rng):
    array, _ = make_array(rng)
    before = array.backend.g.copy()
    counts = rng.integers(-6, 7, before.shape)
    pulses = array.program(counts)
    np.testing.assert_allclose(
        array.backend.g, np.clip(before + counts * 1e-6, 0, 1e-3), atol=1e-12
    )
    assert pulses == np.abs(counts).sum()
    ledger = array.backend.ledger
    np.testing.assert_array_equal(ledger.selected_plus, np.maximum(counts, 0))
    np.testing.assert_array_equal(ledger.selected_minus, np.maximum(-counts, 0))


def test_half_selected_counts_are_rows_plus_columns_minus_twice_the_coincident(rng):
    array, _ = make_array(rng)
    counts = rng.integers(0, 5, array.geometry.shape)
    array.program(counts)
    expected = np.zeros_like(counts)
    for block in array.backend.driven:
        rows = block.selected[:, array.geometry.write_lines.plus]
        cols = block.selected[:, array.geometry.write_lines.minus]
        one = rows[:, :, None] ^ cols[:, None, :]
        expected += (one * block.repeat[:, None, None]).sum(axis=0)
    np.testing.assert_array_equal(array.backend.ledger.half_selected(), expected)


def test_a_programme_beyond_the_limits_drives_nothing(rng):
    limits = SafetyLimits(device_v=Range(-0.95, 1.05))
    array, _ = make_array(rng, limits=limits)
    counts = np.ones(array.geometry.shape, dtype=int)
    counts[-1, -1] = -1
    with pytest.raises(LimitError) as error:
        array.program(counts)
    assert (error.value.value, error.value.limit, error.value.unit) == (-1.0, -0.95, "V")
    assert error.value.where == f"cell ({array.geometry.n_rows - 1}, {array.geometry.n_cols - 1})"
    assert array.backend.driven == []


def test_the_pulse_budget_counts_over_the_whole_run(rng):
    array, _ = make_array(rng, limits=SafetyLimits(pulses_per_device=10))
    counts = np.zeros(array.geometry.shape, dtype=int)
    counts[2, 3] = 6
    array.program(counts)
    with pytest.raises(
        LimitError, match=r"cell \(2, 3\): pulses over the run 12 pulses .* 10 pulses"
    ):
        array.program(counts)
    counts[2, 3] = 4
    array.program(counts)
    assert array.backend.ledger.selected()[2, 3] == 10


@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.BACKWARD])
def test_products_count_as_reads_never_as_write_pulses(rng, phase):
    array, _ = make_array(rng)
    if phase is Phase.FORWARD:
        array.forward(np.full(5, 0.5))
    else:
        array.backward(np.ones(3))
    assert array.backend.ledger.device_pulses == 0
    assert array.backend.ledger.reads().sum() > 0


def test_a_two_arrays_map_needs_its_second_array(rng):
    backend = OhmicBackend(np.full((3, 3), 1e-6))
    pairs = PairMap.build("two-arrays", backend.geometry, 3, 3)
    with pytest.raises(GeometryError, match="second array"):
        SynapseArray(backend, operating_point(), pairs)


@pytest.mark.parametrize("kind", ["adjacent", "two-arrays"])
@pytest.mark.parametrize("coding", ["width", "amplitude"])
@pytest.mark.parametrize("short", [{"max_block_s": 4e-3}, {"max_steps": 5}], ids=["time", "steps"])
def test_products_longer_than_a_block_may_be_take_several_with_equal_results(
    rng, kind, coding, short
):
    serial = {"parallel_sense": False, "per_line_width": False}
    x, d = rng.uniform(-1, 1, (9, 5)), rng.normal(0, 3, (4, 3))
    seed = int(rng.integers(1 << 30))
    found = []
    for able in (Capabilities(**serial), Capabilities(**serial, **short)):
        array, _ = make_array(np.random.default_rng(seed), kind, capabilities=able, coding=coding)
        products = array.forward(x), array.forward(x[0]), array.backward(d)
        found.append((*products, *(side.g for side in array.backends)))
        blocks = [block for side in array.backends for block in side.driven]
        assert all(b.duration_s <= able.max_block_s * (1 + 1e-9) for b in blocks)
        assert all(b.n_steps <= able.max_steps for b in blocks)
    for one, several in zip(*found, strict=True):
        np.testing.assert_allclose(several, one, rtol=1e-12, atol=1e-12)
