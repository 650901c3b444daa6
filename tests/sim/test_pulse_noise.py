"""The noise of pulses: Philox2x32 against its published vectors, deviates against the normal."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.kernels import noise, philox
from numba import njit
from scipy import stats


def vector(text: str) -> list[np.uint64]:
    return [np.uint64(int(word, 16)) for word in text.split()]


@pytest.mark.parametrize(
    ("counter_and_key", "expected"),
    [
        ("00000000 00000000 00000000", "257a3673 cd26be2a"),
        ("ffffffff ffffffff ffffffff", "ab302c4d 3dc9d239"),
        ("243f6a88 85a308d3 13198a2e", "bedbbe6b e4c770b3"),
    ],
)
def test_philox2x32_7_gives_the_published_random123_vectors(counter_and_key, expected):
    words = noise.philox2x32(*vector(counter_and_key), noise.MULTIPLIER)
    assert [f"{int(w) & 0xFFFFFFFF:08x}" for w in words] == expected.split()


@njit
def of_words(high, low, z):
    for n in range(z.size):
        z[n] = noise.deviate(high[n], low[n])


@njit
def one_by_one(key, rows, cols, ordinals, z):
    for n in range(z.size):
        counter, own_key = noise.device_words(key, rows[n], cols[n])
        w0, w1 = noise.philox2x32(counter, np.uint64(ordinals[n]), own_key, noise.MULTIPLIER)
        z[n] = noise.deviate(np.uint32(w0), np.int32(np.uint32(w1)))


@njit
def drawn(key, ordinal, room):
    """The deviates of the next pulse of all devices, a batch at a time."""
    flat = ordinal.reshape(ordinal.size)
    out = np.empty(flat.size, np.float32)
    for start in range(0, flat.size, noise.PULSES):
        stop = min(start + noise.PULSES, flat.size)
        noise.draw_adjoining(key, start, ordinal.shape[1], flat[start:stop], room)
        out[start:stop] = room[noise.Z][: stop - start]
    return out


def of_all(seed: int, n: int, first: int = 0) -> np.ndarray:
    ordinal = np.full((n // 1000, 1000), first, np.uint32)
    z = drawn(philox.key_of(seed), ordinal, noise.new_noise())
    assert (ordinal == first + 1).all()
    return z


def alone(key, rows, cols, ordinals) -> np.ndarray:
    z = np.empty(len(rows), np.float32)
    one_by_one(key, np.asarray(rows), np.asarray(cols), np.asarray(ordinals, np.uint32), z)
    return z


@pytest.mark.parametrize("shape", [(3, 371), (2, 2500), (2, 65600), (65540, 3)], ids=str)
def test_deviates_drawn_together_are_those_of_each_device_and_pulse_alone(shape):
    key, room, rng = philox.key_of(9), noise.new_noise(), np.random.default_rng(0)
    ordinal = rng.integers(0, 2**32, shape, dtype=np.uint32)
    before = ordinal.copy()
    rows, cols = (at.ravel() for at in np.indices(shape))
    z = drawn(key, ordinal, room)
    assert np.array_equal(z, alone(key, rows, cols, before.ravel()))
    assert np.unique(z).size > 0.95 * z.size
    assert np.array_equal(ordinal, before + np.uint32(1))
    some = rng.integers(0, rows.size, 50)
    noise.draw_for_devices(key, rows[some], cols[some], 7, 40, ordinal, room)
    listed = alone(key, rows[some], cols[some], ordinal.ravel()[some])
    assert np.array_equal(room[noise.Z][:40], listed[7:47])
    row, col, first = int(rows[-1]), int(cols[-1]), 2**32 - 3  # pulse numbers go round
    noise.draw_for_pulses(key, row, col, first, 500, room)
    train = alone(key, np.full(500, row), np.full(500, col), (first + np.arange(500)) % 2**32)
    assert np.array_equal(room[noise.Z][:500], train)


def test_a_deviate_is_that_of_its_words_to_six_digits():
    rng = np.random.default_rng(1)
    edge = np.array([0, 1, 2, 3, 2**32 - 1, 2**32 - 2, 2**31, 3037000499, 3037000500])
    high = np.r_[edge, rng.integers(0, 2**32, 200_000), rng.integers(0, 2**12, 20_000)]
    low = np.r_[[-(2**31), 2**31 - 1, 0, 1, -1, 5, 7, 2**30, -(2**30)],
                rng.integers(-(2**31), 2**31, high.size - 9)]  # fmt: skip
    z = np.empty(high.size, np.float32)
    of_words(high.astype(np.uint32), low.astype(np.int32), z)
    radius = np.sqrt(-2 * np.log((high + 0.5) * 2.0**-32))
    expected = radius * np.sin(np.pi * low * 2.0**-32)
    assert np.isfinite(z).all()
    # A radius near 0 has the digits of u near 1 only.
    assert np.abs(z - expected)[radius > 0.01].max() < 1e-5
    assert np.abs(z - expected).max() < 5e-4
    assert 6.7 < np.abs(z).max() < noise.LARGEST


def test_tails_have_the_right_numbers_to_five_sigma_and_beyond():
    n, most = 4_000_000, 0.0
    seen = dict.fromkeys((2.0, 3.0, 4.0, 4.5, 5.0), 0)
    for pulse in range(5):
        z = np.abs(of_all(5, n, pulse))
        most = max(most, float(z.max()))
        for level in seen:
            seen[level] += int((z > level).sum())
    for level, count in seen.items():
        expected = 2 * stats.norm.sf(level) * 5 * n
        assert abs(count - expected) < 5 * np.sqrt(expected), level
    assert most > 5.2


@pytest.mark.parametrize("along", ["devices", "pulses of one device"])
def test_deviates_are_normal_and_independent_of_their_neighbours(along):
    n = 1_000_000
    if along == "devices":
        z = of_all(11, n)
    else:
        z = alone(philox.key_of(11), np.full(n, 3), np.full(n, 77), np.arange(n))
    z = z.astype(np.float64)
    assert np.unique(z).size > 0.95 * n  # no fixed table of Gaussians: the rest is single precision
    assert abs(z.mean()) < 4 / np.sqrt(n)
    assert z.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * n))
    assert stats.kstest(z, "norm").pvalue > 1e-3
    for moment, expected in ((3, 0.0), (4, 3.0), (6, 15.0)):
        error = np.sqrt(stats.norm.moment(2 * moment) / n)
        assert abs((z**moment).mean() - expected) < 5 * error
    for of in (z, z**2 - 1.0, np.abs(z) - np.abs(z).mean()):
        for lag in (1, 2, 3, 16, 128, 200, 256, 512):
            r = (of[lag:] * of[:-lag]).mean() / of.var()
            assert abs(r) < 5 / np.sqrt(n), lag


def test_bits_of_neighbouring_counters_differ_by_half():
    # Avalanche: one counter bit more changes every bit of both words half of the time.
    rng, n = np.random.default_rng(3), 4000
    key = np.uint64(0x13198A2E)
    for bit in range(64):
        counters = rng.integers(0, 2**32, (n, 2), dtype=np.uint64)
        flipped = counters.copy()
        flipped[:, bit // 32] ^= np.uint64(1 << bit % 32)
        one, other = words_of(counters, key), words_of(flipped, key)
        share = np.unpackbits((one ^ other).view(np.uint8)).reshape(n, 64).mean(axis=0)
        assert np.abs(share - 0.5).max() < 6 * 0.5 / np.sqrt(n), bit


@njit
def words_of(counters, key):
    out = np.empty((counters.shape[0], 2), np.uint32)
    for n in range(counters.shape[0]):
        w0, w1 = noise.philox2x32(counters[n, 0], counters[n, 1], key, noise.MULTIPLIER)
        out[n, 0], out[n, 1] = np.uint32(w0), np.uint32(w1)
    return out


def test_neighbours_pulses_and_seeds_do_not_correlate():
    n = 250_000
    base = of_all(1, n)
    others = {
        "next pulse": of_all(1, n, 1), "a late pulse": of_all(1, n, 1 << 20),
        "seed": of_all(2, n), "high seed word": of_all(1 + (1 << 32), n),
        "next column": np.roll(base, 1),
        "next row": np.roll(base, 1000),
    }  # fmt: skip
    for name, other in others.items():
        assert abs(np.corrcoef(base, other)[0, 1]) < 5 / np.sqrt(n), name
        assert abs(np.corrcoef(base**2, other**2)[0, 1]) < 5 / np.sqrt(n), name
