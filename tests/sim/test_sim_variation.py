"""Variation: what differs between devices, pulses and readings, and that it is what was asked."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.kernels import law
from scipy import stats
from simulated import V, changed

LOW, HIGH = 1e-6, 1e-4


def everyone(n: int) -> dict[str, float]:
    return {f"WL{i}": V for i in range(n)}


def step_of(one, n: int) -> np.ndarray:
    before = one.g
    one.drive(everyone(n))
    return (one.g - before) / (HIGH - LOW) * 1024


def test_every_device_has_its_own_step(bench):
    # NeuroSim seeds every device with the clock: 20 000 devices share one parameter there.
    one = bench(changed("ideal", variation__step_d2d=0.2), 150, 140)
    factor = step_of(one, 150)
    assert np.unique(factor).size == factor.size
    assert factor.mean() == pytest.approx(1.0, abs=4 * 0.2 / np.sqrt(factor.size))
    assert factor.std() == pytest.approx(0.2, rel=0.03)
    assert stats.kstest((factor.ravel() - 1) / 0.2, "norm").pvalue > 1e-3


def test_a_device_keeps_its_step_and_both_directions_share_it(bench):
    device = changed("ideal", variation__step_d2d=0.3)
    one = bench(device, 40, 40, g0=5e-5)
    up = step_of(one, 40)
    assert step_of(one, 40) == pytest.approx(up, rel=1e-6)
    before = one.g
    one.drive({f"WL{i}": -V for i in range(40)})
    down = (before - one.g) / (HIGH - LOW) * 1024
    assert down == pytest.approx(up, rel=1e-6)


def test_branch_variation_is_drawn_for_each_direction(bench):
    one = bench(changed("ideal", variation__step_d2d_branch=0.3), 60, 60)
    up, down = (one.backend.array.population.params[..., k] for k in (law.P_A_UP, law.P_A_DOWN))
    assert abs(np.corrcoef(up.ravel(), down.ravel())[0, 1]) < 0.08
    assert (up * 1024).std() == pytest.approx(0.3, rel=0.05)


def test_log_normal_steps_have_median_one(bench):
    device = changed("ideal", variation__step_d2d=0.5, variation__step_d2d_law="log-normal")
    factor = np.log(step_of(bench(device, 100, 100), 100))
    assert np.median(factor) == pytest.approx(0.0, abs=0.03)
    assert factor.std() == pytest.approx(0.5, rel=0.03)


def test_wide_normal_variation_stays_positive_with_mean_one(bench):
    factor = step_of(bench(changed("ideal", variation__step_d2d=0.5), 200, 200), 200)
    assert factor.min() >= 0.05 - 1e-9
    assert factor.max() <= 1.95 + 1e-9
    assert (factor < 0.0501).mean() < 1e-3  # redrawn, not piled up at the bound
    assert factor.mean() == pytest.approx(1.0, abs=0.02)


def test_ranges_and_nonlinearity_vary_and_bound_each_device(bench):
    branch = {"states": 8, "nu": 2.0}
    device = changed(
        "ideal", model="exponential", potentiation=branch, depression=branch,
        variation__g_min_d2d=0.2, variation__g_max_d2d=0.2, variation__nu_d2d=0.2,
    )  # fmt: skip
    one = bench(device, 60, 60)
    low = one.g
    one.drive(everyone(60), repeat=1)
    first = one.g
    one.drive(everyone(60), repeat=30)
    high = one.g
    assert (low / LOW).std() == pytest.approx(0.2, rel=0.06)
    assert (high / HIGH).std() == pytest.approx(0.2, rel=0.06)
    assert np.unique((first - low) / (high - low)).size > 3000


def test_stuck_devices_never_move_and_come_in_the_stated_numbers(bench):
    device = changed(
        "ideal", variation__stuck_at_min=0.1, variation__stuck_at_max=0.2,
        variation__stuck_at_value=0.05, variation__stuck_value="20 uS",
    )  # fmt: skip
    one = bench(device, 100, 100)
    start = one.g
    one.drive(everyone(100), repeat=3000)
    top = one.g
    one.drive({f"WL{i}": -V for i in range(100)}, repeat=3000)
    bottom = one.g
    stuck = top == bottom
    assert np.array_equal(start[stuck], top[stuck])
    for value, share in ((LOW, 0.1), (HIGH, 0.2), (20e-6, 0.05)):
        assert np.isclose(top[stuck], value).mean() * stuck.mean() == pytest.approx(
            share, abs=0.012
        )
    assert top[~stuck] == pytest.approx(HIGH)
    assert bottom[~stuck] == pytest.approx(LOW)


def test_multiplicative_cycle_variation_scales_with_the_step(bench):
    one = bench(changed("ideal", variation__step_c2c=0.3), 100, 100)
    for _ in range(3):
        step = step_of(one, 100)
        assert step.mean() == pytest.approx(1.0, abs=0.012)
        assert step.std() == pytest.approx(0.3, rel=0.03)
    assert abs(np.corrcoef(step.ravel(), step_of(one, 100).ravel())[0, 1]) < 0.05


def test_additive_cycle_variation_is_a_part_of_the_range_and_grows_with_the_root(bench):
    one = bench(changed("ideal", variation__range_c2c=0.01), 100, 100, g0=5e-5)
    one.drive(everyone(100), repeat=9)
    u = (one.g - 5e-5) / (HIGH - LOW)
    assert u.mean() == pytest.approx(9 / 1024, abs=4 * 0.03 / 100)
    assert u.std() == pytest.approx(0.03, rel=0.03)


def test_noise_does_not_take_a_device_out_of_its_range(bench):
    one = bench(changed("ideal", variation__range_c2c=0.2), 30, 30)
    for _ in range(10):
        one.drive(everyone(30))
        assert one.g.min() >= LOW * (1 - 1e-12)
        assert one.g.max() <= HIGH * (1 + 1e-12)


def read_currents(one, times: int) -> np.ndarray:
    n = one.geometry.n_rows
    levels = {f"WL{i}": 0.1 * (1 + i % 3) for i in range(n)}
    bits = " ".join(f"BL{j}" for j in range(one.geometry.n_cols))
    m = one.drive(levels, 1e-5, sense=bits, repeat=times)
    return m.current_a.reshape(times, -1)


@pytest.mark.parametrize("floating", [False, True], ids=["levels known", "potentials solved"])
def test_read_noise_is_that_of_independent_devices(bench, floating):
    device = changed("ideal", variation__read_noise=0.05, variation__read_noise_siemens="1 uS")
    rng = np.random.default_rng(1)
    g = rng.uniform(LOW, HIGH, (20, 4))
    one = bench(
        device, 21 if floating else 20, 4, g0=np.vstack([g, g[:1]])[: 21 if floating else 20]
    )
    v = 0.1 * (1 + np.arange(20) % 3)
    if floating:
        levels = {f"WL{i}": v[i] for i in range(20)}
        m = one.drive(levels, 1e-5, sense="BL0 BL1 BL2 BL3", repeat=4000, floats="WL20")
        current = m.current_a.reshape(4000, 4)
    else:
        current = read_currents(one, 4000)
    assert -current.mean(axis=0) == pytest.approx(v @ g, rel=0.005)
    sigma = np.sqrt(((0.05 * g * v[:, None]) ** 2 + (1e-6 * v[:, None]) ** 2).sum(axis=0))
    assert current.std(axis=0) == pytest.approx(sigma, rel=0.05)
    noise = (current - current.mean(axis=0)) / current.std(axis=0)
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    assert np.unique(current).size == current.size
    assert abs(np.corrcoef(current.T) - np.eye(4)).max() < 0.08


def test_reading_changes_no_conductance_below_the_threshold(bench):
    one = bench("nonlinear", 20, 4, g0=3e-5)
    before = one.g
    read_currents(one, 500)
    assert np.array_equal(one.g, before)


def test_another_seed_is_another_array_and_another_run(bench):
    def run(seed):
        one = bench("nonlinear", 8, 8, seed=seed)
        one.drive(everyone(8), repeat=5)
        return one.g, read_currents(one, 3)

    (g1, i1), (g2, i2), (g3, i3) = run(1), run(2), run(1)
    assert np.array_equal(g1, g3)
    assert np.array_equal(i1, i3)
    assert (g1 != g2).all()
    assert (i1 != i2).all()
