"""Philox4x32 against its published vectors; deviates against the normal distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.kernels import philox
from numba import njit
from scipy import stats
from scipy.special import ndtri


@njit
def words(counter, key):
    return philox.philox4x32(counter[0], counter[1], counter[2], counter[3], key[0], key[1])


def hexes(*values: str) -> np.ndarray:
    return np.array([int(v, 16) for v in values], dtype=np.uint64)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_random123_vectors(counter, key, expected):
    got = words(hexes(*counter.split()), hexes(*key.split()))
    assert [f"{int(w):08x}" for w in got] == expected.split()


def test_deviates_of_a_million_devices_are_unique_and_normal():
    z = philox.device_normals(philox.key_of(11), 1000, 1000, 0, philox.STEP_D2D).ravel()
    assert np.unique(z).size == z.size  # no fixed table of Gaussians
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert z.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * z.size))
    assert stats.kstest(z, "norm").pvalue > 1e-3


def test_tails_reach_five_sigma_in_the_right_numbers():
    n = 4_000_000
    z = philox.device_normals(philox.key_of(5), 2000, 2000, 0, philox.STEP_D2D)
    for level in (3.0, 4.0, 4.5):
        expected = 2 * stats.norm.sf(level) * n
        seen = int((np.abs(z) > level).sum())
        assert abs(seen - expected) < 5 * np.sqrt(expected)
    assert np.abs(z).max() > 4.8


def test_the_inverse_distribution_is_accurate_over_the_whole_range():
    bits = np.concatenate([np.arange(50), 2**53 - 1 - np.arange(50)]).astype(np.uint64)
    edge = np.array([philox.normal_of(b) for b in bits])
    assert edge[:50] == pytest.approx(ndtri((np.arange(50) + 0.5) * 2.0**-53), rel=1e-12)
    assert edge[50:] == pytest.approx(-edge[:50], rel=1e-12)
    middle = np.random.default_rng(0).integers(2**45, 2**53 - 2**45, 2000, dtype=np.uint64)
    got = np.array([philox.normal_of(b) for b in middle])
    assert got == pytest.approx(ndtri((middle + 0.5) * 2.0**-53), rel=1e-9, abs=1e-12)


def test_neighbours_ordinals_purposes_and_seeds_do_not_correlate():
    key = philox.key_of(1)
    base = philox.device_normals(key, 300, 300, 0, philox.STEP_D2D)
    others = {
        "ordinal": philox.device_normals(key, 300, 300, 1, philox.STEP_D2D),
        "purpose": philox.device_normals(key, 300, 300, 0, philox.STEP_D2D_P),
        "seed": philox.device_normals(philox.key_of(2), 300, 300, 0, philox.STEP_D2D),
        "high seed word": philox.device_normals(
            philox.key_of(1 + (1 << 32)), 300, 300, 0, philox.STEP_D2D
        ),
        "transpose": base.T,
        "next row": np.roll(base, 1, axis=0),
        "next column": np.roll(base, 1, axis=1),
    }
    off_diagonal = ~np.eye(300, dtype=bool)
    for name, other in others.items():
        r = np.corrcoef(base[off_diagonal], other[off_diagonal])[0, 1]
        assert abs(r) < 5 / np.sqrt(base.size) or name == "transpose"
        if name == "transpose":
            assert abs(r) < 0.02


def test_a_batch_reaches_as_far_into_the_tails_as_a_single_deviate():
    counters, bits, out, *_ = draws = philox.new_draws()
    key = philox.key_of(4)
    for column in range(40):
        counters[:] = np.arange(philox.BATCH) + column * philox.BATCH
        philox.draw_normals(key, philox.BATCH, draws)
        assert out.tolist() == [philox.normal_of(b) for b in bits]
    assert min(abs(philox.normal_of(np.uint64(b))) for b in (0, 2**53 - 1)) > 8.0
