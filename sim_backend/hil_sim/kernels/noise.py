"""The noise of pulses: a normal deviate for pulse number n of a device, in single precision.

The two words that it is made of are Philox2x32-7 (Salmon et al., "Parallel random numbers: as easy
as 1, 2, 3", SC 2011: the fewest rounds that pass BigCrush) of the counter (row and column, n); the
key is the seed's, by ``philox.key_of``. Box and Muller's sine (Ann. Math. Stat. 29, 610, 1958)
turns the words into one deviate: exact in its distribution, without branches, up to 6.7 σ. The
radius is taken from the integer, not from 1 − u, so that the tails keep their digits.

A deviate is the same numbers in the same operations wherever it is drawn, alone or in a vectorised
loop: products are fused with sums only where the source says so.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hil_sim.kernels.single import bits_of, float_of, fma

PULSES = 4096  #: most deviates drawn at once
LARGEST = 6.8  #: no deviate is larger
# Scratch, see :func:`new_noise`.
AT, DEVICE, KEY, ORDINAL, HIGH, LOW, Z, FIRST = 0, 1, 2, 3, 4, 5, 6, 7

MULTIPLIER = np.uint64(0xD256D193)
_W = np.uint64(0x9E3779B9)
_MASK = np.uint64(0xFFFFFFFF)
_S32 = np.uint64(32)
_S16, _MASK16 = np.uint64(16), np.uint64(0xFFFF)

_ULP = np.float32(2.0**-32)
_HALF, _ONE = np.float32(0.5), np.float32(1.0)
# −2·ln(1 + t)/t for √½ ≤ 1 + t < √2, relative error 1.1e-6, and sin(πx)/x for |x| ≤ ½, 9.4e-7:
# minimax polynomials, the lowest power first.
_L0, _L1, _L2, _L3, _L4, _L5, _L6 = (
    np.float32(term)
    for term in (-2.000002, 1.0000223, -0.66629016, 0.4981949, -0.40992665, 0.37335688, -0.23792161)
)
_S0, _S1, _S2, _S3 = (np.float32(term) for term in (3.1415896, -5.167368, 2.543606, -0.5583984))
_LN2 = np.float32(-2.0 * math.log(2.0))
_ROOT_HALF = np.int32(0x3F3504F3)  # the bits of √½
_EXPONENT, _WORD = np.int32(23), np.int32(32)


@njit(cache=True)
def philox2x32(c0: Any, c1: Any, key: Any, m: Any) -> tuple[Any, Any]:
    """Return two words, in the low halves of uint64, of Philox2x32-7 for a counter and a key.

    ``m`` is :data:`MULTIPLIER`, read from memory for the first round: a compiler that knew it
    would take both halves of that product apart, and four instructions more.
    """
    product = (m & _MASK) * (c0 & _MASK)
    for _ in range(6):
        c0, c1 = (product >> _S32) ^ c1 ^ key, product
        key = (key + _W) & _MASK
        product = MULTIPLIER * (c0 & _MASK)
    return (product >> _S32) ^ c1 ^ key, product


@njit(cache=True)
def deviate(high: Any, low: Any) -> Any:
    """Return the normal deviate (float32) of a uint32 and an int32."""
    bits = bits_of(np.float32(high) + _HALF)  # of 2³²·u
    exponent = np.int32(np.int32(bits - _ROOT_HALF) >> _EXPONENT)
    t = float_of(np.int32(bits - np.int32(exponent << _EXPONENT))) - _ONE
    p = fma(fma(fma(_L6, t, _L5), t, _L4), t, _L3)
    p = fma(fma(fma(p, t, _L2), t, _L1), t, _L0)
    square = fma(p, t, np.float32(np.int32(exponent - _WORD)) * _LN2)  # −2·ln u
    x = np.float32(low) * _ULP
    q = x * x
    sine = fma(fma(fma(_S3, q, _S2), q, _S1), q, _S0) * x
    return math.sqrt(square) * sine


@njit(cache=True)
def new_noise() -> tuple[Any, Any, Any, Any, Any, Any, Any, Any]:
    """Return room for a batch: a place, counter and key of devices, pulse numbers, words, deviates.

    The place is the user's own. The last is the multiplier of :func:`philox2x32`'s first round.
    """
    return (
        np.empty(PULSES, np.int64), np.empty(PULSES, np.uint32), np.empty(PULSES, np.uint32),
        np.empty(PULSES, np.uint32), np.empty(PULSES, np.uint32), np.empty(PULSES, np.int32),
        np.zeros(PULSES, np.float32), np.full(1, MULTIPLIER),
    )  # fmt: skip


@njit(cache=True)
def device_words(key: Any, row: int, col: int) -> tuple[Any, Any]:
    """Return the first counter word and the key, in the low halves of uint64, of a device.

    They depend on row and column, not on the size of the array: 16 bits of each count, what is
    beyond changes the key.
    """
    i, j = np.uint64(row), np.uint64(col)
    counter = key[2] + (((i & _MASK16) << _S16) | (j & _MASK16))
    return counter, key[3] + (((i >> _S16) << _S16) | (j >> _S16))


@njit(cache=True)
def _fill_words(device: Any, key: Any, ordinal: Any, m: Any, high: Any, low: Any) -> None:
    for n in range(device.size):
        w0, w1 = philox2x32(np.uint64(device[n]), np.uint64(ordinal[n]), np.uint64(key[n]), m)
        high[n], low[n] = np.uint32(w0), np.int32(np.uint32(w1))


@njit(cache=True)
def _fill_words_in_a_row(first: Any, key: Any, ordinal: Any, m: Any, high: Any, low: Any) -> None:
    for n in range(ordinal.size):
        w0, w1 = philox2x32(first + np.uint64(n), np.uint64(ordinal[n]), key, m)
        high[n], low[n] = np.uint32(w0), np.int32(np.uint32(w1))
        ordinal[n] += np.uint32(1)


@njit(cache=True)
def _fill_deviates(count: int, highs: Any, lows: Any, every_z: Any) -> None:
    high, low, z = highs[:count], lows[:count], every_z[:count]
    for n in range(z.size):
        z[n] = deviate(high[n], low[n])


@njit(cache=True)
def list_device(key: Any, n: int, row: int, col: int, ordinal: Any, noise: Any) -> None:
    """Put pulse number ``ordinal`` of a device at place ``n`` of those to be drawn."""
    counter, own_key = device_words(key, row, col)
    noise[DEVICE][n], noise[KEY][n] = np.uint32(counter), np.uint32(own_key)
    noise[ORDINAL][n] = np.uint32(ordinal)


@njit(cache=True)
def draw_listed(count: int, noise: Any) -> None:
    """Draw a deviate for each of the first ``count`` listed pulses."""
    high, low, m = noise[HIGH][:count], noise[LOW][:count], noise[FIRST][0]
    _fill_words(noise[DEVICE][:count], noise[KEY][:count], noise[ORDINAL][:count], m, high, low)
    _fill_deviates(count, high, low, noise[Z])


@njit(cache=True)
def draw_adjoining(key: Any, first: int, n_cols: int, ordinal: Any, noise: Any) -> None:
    """Draw a deviate for each of ``ordinal.size`` ≤ PULSES adjoining devices, and count the pulse.

    ``first`` is the place of the first of them, row by row; ``ordinal`` the next pulse of each.
    """
    count = ordinal.size
    high, low, m = noise[HIGH][:count], noise[LOW][:count], noise[FIRST][0]
    row, col, at = first // n_cols, first % n_cols, 0
    while at < count:
        end = min(n_cols, (col | 0xFFFF) + 1)  # further columns have another key
        part = slice(at, min(at + end - col, count))
        counter, own_key = device_words(key, row, col)
        _fill_words_in_a_row(counter, own_key, ordinal[part], m, high[part], low[part])
        at, col = part.stop, end
        if col == n_cols:
            row, col = row + 1, 0
    _fill_deviates(count, high, low, noise[Z])


@njit(cache=True)
def _fill_words_of_places(
    first: Any, places: Any, key: Any, ordinals: Any, start: int, stop: int, m: Any, high: Any,
    low: Any,
) -> None:  # fmt: skip
    ordinal = ordinals[start:stop]  # here and not outside, where it would cost more
    for n in range(ordinal.size):
        w0, w1 = philox2x32(first + np.uint64(places[n]), np.uint64(ordinal[n]), key, m)
        high[n], low[n] = np.uint32(w0), np.int32(np.uint32(w1))
        ordinal[n] += np.uint32(1)


@njit(cache=True)
def places_of_rows(n_cols: int) -> Any:
    """Return the counters of adjoining devices relative to the first of a row.

    As many whole rows as :func:`draw_rows` takes at once; none when a row has more than PULSES.
    """
    places = np.empty(PULSES // n_cols * n_cols, np.uint32)
    for n in range(places.size):
        places[n] = np.uint32((n // n_cols << 16) | n % n_cols)
    return places


@njit(cache=True)
def draw_rows(
    key: Any, start: int, stop: int, n_cols: int, places: Any, ordinal: Any, noise: Any
) -> None:
    """Do as :func:`draw_adjoining` for places ``start``, of a row, to ``stop`` in one loop.

    ``places`` are those of :func:`places_of_rows`; ``ordinal`` is that of all devices.
    """
    row = start // n_cols
    if (row & 0xFFFF) + (stop - start) // n_cols > 0xFFFF:  # further rows have another key
        draw_adjoining(key, start, n_cols, ordinal[start:stop], noise)
        return
    high, low, m = noise[HIGH], noise[LOW], noise[FIRST][0]
    counter, own_key = device_words(key, row, 0)
    _fill_words_of_places(counter, places, own_key, ordinal, start, stop, m, high, low)
    _fill_deviates(stop - start, high, low, noise[Z])


@njit(cache=True)
def draw_for_devices(
    key: Any, rows: Any, cols: Any, start: int, count: int, ordinal: Any, noise: Any
) -> None:
    """Draw the deviates of the next pulse of ``count`` ≤ PULSES devices from ``start`` on."""
    for n in range(count):
        row, col = rows[start + n], cols[start + n]
        list_device(key, n, row, col, ordinal[row, col], noise)
    draw_listed(count, noise)


@njit(cache=True)
def draw_for_pulses(key: Any, row: int, col: int, first: int, count: int, noise: Any) -> None:
    """Draw the deviates of ``count`` ≤ PULSES pulses of one device, its number ``first`` on."""
    for n in range(count):
        list_device(key, n, row, col, first + n, noise)
    draw_listed(count, noise)
