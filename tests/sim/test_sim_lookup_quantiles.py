"""Look-up tables whose noise has a measured shape."""

from statistics import NormalDist

import numpy as np
import pytest
from hil_sim.models.response import DEVIATES, BranchTable, lookup_nodes
from scipy import stats
from simulated import V, changed

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
Z = np.array([NormalDist().inv_cdf(level) for level in LEVELS])


def branch(quantiles, **more):
    g = np.linspace(1e-6, 5e-6, 5)
    return BranchTable(
        g=[f"{x} S" for x in g], delta_g=["0.1 uS"] * 5, levels=LEVELS,
        quantiles=[[f"{q} S"] * 5 for q in quantiles], **more,
    )  # fmt: skip


def test_normal_quantiles_leave_a_normal_deviate_as_it_is():
    nodes = lookup_nodes(branch(1e-7 + 2e-8 * Z), 1e-6, 5e-6, up=True)
    assert nodes[2] == pytest.approx(2e-8 / 4e-6, rel=1e-3)
    assert nodes[3:] == pytest.approx(np.repeat(DEVIATES[:, None], 5, axis=1), abs=2e-3)


def test_quantiles_give_the_noise_its_shape_and_the_spread_its_size():
    skewed = stats.expon.ppf(LEVELS)
    nodes = lookup_nodes(branch(1e-7 * skewed, spread=["0.05 uS"] * 5), 1e-6, 5e-6, up=False)
    assert nodes[2] == pytest.approx(0.05 / 4)
    shape = nodes[3:, 0]
    assert np.all(np.diff(shape) >= 0)
    assert shape[-1] > 2 * -shape[0]


def test_equal_quantiles_are_no_noise():
    nodes = lookup_nodes(branch(np.full(9, 1e-7)), 1e-6, 5e-6, up=True)
    assert not nodes[2].any()


def test_a_simulated_step_has_the_measured_distribution(bench):
    """Skewed steps come back: quantiles within the sampling error of 10 000 devices."""
    steps = np.array([stats.gamma.ppf(level, 2.0) for level in LEVELS])
    g = [f"{x} S" for x in (1e-6, 100e-6)]
    table = {
        "g": g, "delta_g": ["2 uS"] * 2, "levels": list(LEVELS),
        "quantiles": [[f"{q * 1e-6} S"] * 2 for q in steps],
    }  # fmt: skip
    device = changed("ideal", model="lookup", potentiation=table, depression=table)
    one = bench(device, 100, 100)
    one.drive({f"WL{i}": V for i in range(100)})
    got = np.quantile(one.g - 1e-6, LEVELS) * 1e6
    assert (one.g - 1e-6).mean() == pytest.approx(2e-6, rel=0.02)
    assert got[1:-1] == pytest.approx(steps[1:-1], rel=0.06)
    assert stats.skew((one.g - 1e-6).ravel()) > 0.8


def test_draws_of_a_table_depend_on_device_and_pulse_alone(bench):
    """The same pulses in another array width give the same device the same conductance."""
    table = {
        "g": ["1 uS", "100 uS"], "delta_g": ["2 uS"] * 2, "levels": [0.1, 0.5, 0.9],
        "quantiles": [["0 uS"] * 2, ["1.5 uS"] * 2, ["5 uS"] * 2],
    }  # fmt: skip
    device = changed("ideal", model="lookup", potentiation=table, depression=table)
    wide, narrow = bench(device, 8, 8), bench(device, 4, 3)
    for _ in range(3):
        wide.drive({f"WL{i}": V for i in range(8)})
        narrow.drive({f"WL{i}": V for i in range(4)})
    assert narrow.g == pytest.approx(wide.g[:4, :3], rel=1e-12)


def test_a_device_with_larger_steps_has_a_larger_spread(bench):
    table = {"g": ["1 uS", "100 uS"], "delta_g": ["0.1 uS"] * 2, "spread": ["0.02 uS"] * 2}
    variation = {"step_d2d": 0.5, "step_d2d_law": "log-normal"}
    device = changed("ideal", model="lookup", potentiation=table, depression=table,
                     variation=variation)  # fmt: skip
    one = bench(device, 20, 20, g0=10e-6)
    before, steps = one.g, []
    for _ in range(60):
        one.drive({f"WL{i}": V for i in range(20)})
        steps.append(one.g - before)
        before = one.g
    mean, spread = np.mean(steps, axis=0), np.std(steps, axis=0)
    assert stats.spearmanr(mean.ravel(), spread.ravel()).statistic > 0.8
    assert np.log(mean).std() == pytest.approx(0.5, rel=0.1)
    assert (spread / np.sqrt(mean)).mean() == pytest.approx(0.02e-6 / np.sqrt(0.1e-6), rel=0.05)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"levels": [0.1, 0.9]}, "go together"),
        ({"levels": [0.9, 0.1], "quantiles": [["1 uS"] * 2] * 2}, "rising order"),
        ({"levels": [0.1, 0.9], "quantiles": [["1 uS"] * 2]}, "1 rows"),
        ({"levels": [0.1, 0.9], "quantiles": [["1 uS"]] * 2}, "2 entries"),
        ({"levels": [0.1, 0.9], "quantiles": [["2 uS"] * 2, ["1 uS"] * 2]}, "must not fall"),
    ],
    ids=["one-of-two", "order", "rows", "columns", "falling"],
)
def test_quantiles_that_make_no_sense_are_refused(wrong, message):
    table = {"g": ["1 uS", "100 uS"], "delta_g": ["2 uS"] * 2}
    with pytest.raises(ValueError, match=message):
        changed("ideal", model="lookup", potentiation={**table, **wrong}, depression=table)
