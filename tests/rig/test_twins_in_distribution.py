"""Twin equality with noise, the simulator obeying no rig: equal in distribution, by a stated power.

One sample is 64 devices written by write-verify to 50 uS on a rig over TCP, the other 4096 on the
plain simulator with another seed; compared are pulses to target and final conductance. They count
as different when Kolmogorov-Smirnov or Mann-Whitney says so (1 % each), or when two one-sided
t-tests (5 %, on means without the outer tenths) cannot bound the difference by half a spread, which
is the standard deviation that the quartiles have in a normal distribution.

By simulation, in `test_the_power_is_as_stated`: a device that needs 6 % more pulses (0.6 spreads)
and a source whose pulses are 5 % short are found in at least 95 % of samples, equal devices are
taken for different in at most 8 %.
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
from benches import HEAD, STATIONS, device_file, off_grid, on_bench, station_of
from scipy import stats

from hil.control.array import SynapseArray
from hil.control.opening import make_backend
from hil.phases.verify_settings import WriteVerify

N_RIG, N_SIM = 8, 64  #: rows and columns
P_DIFFERENT, P_EQUIVALENT = 0.01, 0.05
BOUND = 0.5  #: spreads
TRIM = 0.1
STATES, MORE_STATES = 128, 136
#: 200.4 us on this grid are 190 us.
WRONG_GRID = '[twin]\nwidth_resolution = "38 us"\n'
VARIATION = "[variation]\nstep_d2d = 0.1\nstep_c2c = 0.02\nread_noise = 0.005\n"


def noisy_device(folder, states):
    changes = [
        ('model = "linear"', 'model = "exponential"'),
        ("states = 256", f"states = {states}\nnu = 2.0"),
        ("[current]", f"{VARIATION}[current]"),
    ]
    return device_file(folder, changes, f"{states}.toml")


def written(backend, op):
    """Return pulses to 50 uS and final conductances in siemens of all devices."""
    shape = backend.geometry.shape
    with backend:
        array = SynapseArray(backend, op)
        outcome = array.write(np.full(shape, 5e-5), settings=WriteVerify()).outcome
    assert (np.asarray(outcome["outcome"]) == "ok").mean() > 0.999
    return {name: np.ravel(outcome[name]).astype(float) for name in ("pulses", "g_final_siemens")}


def spread(values):
    """Return the standard deviation of a normal distribution with the same quartiles."""
    return float(stats.iqr(values) / (stats.norm.ppf(0.75) - stats.norm.ppf(0.25)))


def differences(sample, reference):
    """Return the tests by which two samples are not of one distribution."""
    found = []
    for name, x in sample.items():
        y = reference[name]
        bound = BOUND * spread(y)
        welch = partial(stats.ttest_ind, equal_var=False, trim=TRIM)
        p_above = welch(x + bound, y, alternative="greater").pvalue
        p_below = welch(x - bound, y, alternative="less").pvalue
        for test, different in (
            ("KS", stats.ks_2samp(x, y, method="asymp").pvalue < P_DIFFERENT),
            ("MWU", stats.mannwhitneyu(x, y).pvalue < P_DIFFERENT),
            ("TOST", max(p_above, p_below) > P_EQUIVALENT),
        ):
            if different:
                found.append(f"{test} of {name}")
    return found


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    """Return what draws a population on the plain simulator, or on one with a wrong grid."""
    folder = tmp_path_factory.mktemp("devices")

    @cache
    def of(states, seed, twin=""):
        head = HEAD.format(rows=N_SIM, cols=N_SIM, device=noisy_device(folder, states))
        station = station_of(off_grid(head) + twin)
        return written(*make_backend(station, station.array[0], sim=True, seed=seed))

    return of


def on_rig(kind, folder, states):
    text = off_grid(STATIONS[kind](N_RIG, N_RIG, device=noisy_device(folder, states)))
    station = station_of(text)
    with on_bench(station, seed=9) as (rig, _):
        return written(rig, station.drive.operating_point())


@pytest.mark.parametrize(
    "kind", ["c", *(pytest.param(k, marks=pytest.mark.slow) for k in ("a", "b", "d"))]
)
def test_noisy_devices_on_a_rig_are_those_of_the_plain_simulator(kind, population, tmp_path):
    assert differences(on_rig(kind, tmp_path, STATES), population(STATES, 77)) == []


def test_another_device_on_the_rig_is_noticed(population, tmp_path):
    found = differences(on_rig("c", tmp_path, MORE_STATES), population(STATES, 77))
    assert "MWU of pulses" in found
    assert "TOST of pulses" in found


def test_the_power_is_as_stated(population):
    reference = population(STATES, 77)
    more = population(MORE_STATES, 78)["pulses"].mean() / reference["pulses"].mean() - 1.0
    assert more == pytest.approx(0.06, abs=0.01)
    assert more * reference["pulses"].mean() / spread(reference["pulses"]) < 0.65
    rng = np.random.default_rng(3)

    def share_noticed(of, n=100):
        draws = [rng.choice(N_SIM**2, N_RIG**2, replace=False) for _ in range(n)]
        return np.mean([bool(differences({k: v[d] for k, v in of.items()}, reference))
                        for d in draws])  # fmt: skip

    assert share_noticed(population(STATES, 78)) <= 0.08
    assert share_noticed(population(MORE_STATES, 78)) >= 0.95
    assert share_noticed(population(STATES, 78, WRONG_GRID)) >= 0.95
