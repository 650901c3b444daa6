"""Counter-based random numbers: Philox4x32-10 and normal deviates made from it.

Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) maps a 128-bit
counter and a 64-bit key to 128 random bits. The counter is (col, row, ordinal, purpose), the key is
the seed: a draw depends on *what* it is for and never on when, in which chunk or on which thread
it is made.

All words are kept in uint64 and masked, because Numba promotes uint32 arithmetic in silence.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_MASK = np.uint64(0xFFFFFFFF)
_S32 = np.uint64(32)
_S11 = np.uint64(11)
_TOP = np.uint64((1 << 53) - 1)
_CENTRE, _NEAR = 0.425, 5.0  # where AS 241 changes its formula
BATCH = 256  #: most deviates drawn at once

# What a draw is for: the fourth counter word. Drawn once per device, but for READ_NOISE and PULSES;
# the latter gives the noise of pulses its own key, see ``kernels.noise``.
PULSES, READ_NOISE, STEP_D2D, STEP_D2D_P, STEP_D2D_D = 0, 1, 2, 3, 4
G_MIN_D2D, G_MAX_D2D, THRESHOLD_D2D_P, THRESHOLD_D2D_D = 5, 6, 7, 8
NU_D2D_P, NU_D2D_D, STUCK, DRIFT_D2D, FORMING_D2D = 9, 10, 11, 12, 13


@njit(cache=True)
def philox4x32(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:
    """Return the four 32-bit words (as uint64) of Philox4x32-10 for a counter and a key."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (
            (p1 >> _S32) ^ c1 ^ k0, p1 & _MASK, (p0 >> _S32) ^ c3 ^ k1, p0 & _MASK,
        )  # fmt: skip
        k0 = (k0 + _W0) & _MASK
        k1 = (k1 + _W1) & _MASK
    return c0, c1, c2, c3


@njit(cache=True, error_model="numpy")
def _near_tail(r: float) -> float:
    """Return −z for r = √(−ln lower) ≤ 5, lower the tail probability (AS 241, PPND16)."""
    r -= 1.6
    num = ((((((7.74545014278341407640e-4 * r + 2.27238449892691845833e-2) * r
               + 2.41780725177450611770e-1) * r + 1.27045825245236838258) * r
             + 3.64784832476320460504) * r + 5.76949722146069140550) * r
           + 4.63033784615654529590) * r + 1.42343711074968357734  # fmt: skip
    den = ((((((1.05075007164441684324e-9 * r + 5.47593808499534494600e-4) * r
               + 1.51986665636164571966e-2) * r + 1.48103976427480074590e-1) * r
             + 6.89767334985100004550e-1) * r + 1.67638483018380384940) * r
           + 2.05319162663775882187) * r + 1.0  # fmt: skip
    return num / den


@njit(cache=True, error_model="numpy")
def _far_tail(r: float) -> float:
    """Return −z for r = √(−ln lower) > 5, lower the tail probability (AS 241, PPND16)."""
    r -= 5.0
    num = ((((((2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r
               + 1.24266094738807843860e-3) * r + 2.65321895265761230930e-2) * r
             + 2.96560571828504891230e-1) * r + 1.78482653991729133580) * r
           + 5.46378491116411436990) * r + 6.65790464350110377720  # fmt: skip
    den = ((((((2.04426310338993978564e-15 * r + 1.42151175831644588870e-7) * r
               + 1.84631831751005468180e-5) * r + 7.86869131145613259100e-4) * r
             + 1.48753612908506148525e-2) * r + 1.36929880922735805310e-1) * r
           + 5.99832206555887937690e-1) * r + 1.0  # fmt: skip
    return num / den


@njit(cache=True, error_model="numpy")
def _centre(q: float) -> float:
    """Return z for a probability 0.5 + q, |q| ≤ 0.425 (AS 241, PPND16)."""
    r = 0.180625 - q * q
    num = ((((((2.5090809287301226727e3 * r + 3.3430575583588128105e4) * r
               + 6.7265770927008700853e4) * r + 4.5921953931549871457e4) * r
             + 1.3731693765509461125e4) * r + 1.9715909503065514427e3) * r
           + 1.3314166789178437745e2) * r + 3.3871328727963666080  # fmt: skip
    den = ((((((5.2264952788528545610e3 * r + 2.8729085735721942674e4) * r
               + 3.9307895800092710610e4) * r + 2.1213794301586595867e4) * r
             + 5.3941960214247511077e3) * r + 6.8718700749205790830e2) * r
           + 4.2313330701600911252e1) * r + 1.0  # fmt: skip
    return q * num / den


@njit(cache=True)
def _lower(bits: Any) -> float:
    """Return the probability of the tail that 53 random bits are in.

    It is taken from the integer, not from 1 − u, so that it keeps all its digits: deviates reach
    8.2 σ.
    """
    if bits <= _TOP - bits:
        return (float(bits) + 0.5) * 2.0**-53
    return (float(_TOP - bits) + 0.5) * 2.0**-53


@njit(cache=True)
def normal_of(bits: Any) -> float:
    """Return the normal deviate of 53 random bits by the inverse distribution (Wichura, AS 241)."""
    q = (float(bits) + 0.5) * 2.0**-53 - 0.5
    if abs(q) <= _CENTRE:
        return _centre(q)
    r = math.sqrt(-math.log(_lower(bits)))
    z = _near_tail(r) if r <= _NEAR else _far_tail(r)
    return -z if q < 0.0 else z


@njit(cache=True)
def bits53(key: Any, c0: Any, c1: Any, c2: Any, c3: Any) -> Any:
    """Return 53 random bits of one counter; ``key`` is a uint64 array of two 32-bit words."""
    w0, w1, _, _ = philox4x32(
        np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3), key[0], key[1]
    )
    return ((w0 << _S32) | w1) >> _S11


@njit(cache=True)
def new_draws() -> tuple[Any, Any, Any, Any, Any]:
    """Return room for a batch of draws: counters (4, BATCH), bits, deviates, two scratch arrays."""
    return (
        np.empty((4, BATCH), np.uint64), np.empty(BATCH, np.uint64), np.empty(BATCH),
        np.empty(BATCH, np.int64), np.empty(BATCH),
    )  # fmt: skip


@njit(cache=True)
def _fill_bits(key: Any, counters: Any, count: int, bits: Any) -> None:
    """Write 53 random bits of every counter; contiguous and without branches, it vectorises."""
    first, second = key[0] & _MASK, key[1] & _MASK
    for n in range(count):
        k0, k1 = first, second
        c0, c1 = counters[0, n] & _MASK, counters[1, n] & _MASK
        c2, c3 = counters[2, n] & _MASK, counters[3, n] & _MASK
        for _ in range(10):
            p0 = _M0 * c0
            p1 = _M1 * c2
            c0, c1, c2, c3 = (
                (p1 >> _S32) ^ c1 ^ k0, p1 & _MASK, (p0 >> _S32) ^ c3 ^ k1, p0 & _MASK,
            )  # fmt: skip
            k0 = (k0 + _W0) & _MASK
            k1 = (k1 + _W1) & _MASK
        bits[n] = ((c0 << _S32) | c1) >> _S11


@njit(cache=True, error_model="numpy")
def draw_normals(key: Any, count: int, draws: Any) -> None:
    """Write the deviates of the first ``count`` counters of ``draws`` to its third array.

    Same numbers as :func:`normal_of`: the central formula for all, then the tails by themselves, so
    that the loops vectorise.
    """
    counters, bits, z, at, lower = draws
    _fill_bits(key, counters, count, bits)
    for n in range(count):
        z[n] = _centre((np.float64(np.int64(bits[n])) + 0.5) * 2.0**-53 - 0.5)
    n_tails = 0
    for n in range(count):
        at[n_tails] = n
        q = (np.float64(np.int64(bits[n])) + 0.5) * 2.0**-53 - 0.5
        n_tails += 1 if abs(q) > _CENTRE else 0
    longest = 0.0
    for k in range(n_tails):
        lower[k] = -math.log(_lower(bits[at[k]]))
        longest = max(longest, lower[k])
    for k in range(n_tails):
        lower[k] = _near_tail(math.sqrt(lower[k]))
    for k in range(n_tails):
        n = at[k]
        z[n] = lower[k] if bits[n] > _TOP >> np.uint64(1) else -lower[k]
    if longest > _NEAR * _NEAR:
        for k in range(n_tails):
            z[at[k]] = normal_of(bits[at[k]])


@njit(cache=True)
def device_normals(key: Any, n_rows: int, n_cols: int, attempt: int, purpose: int) -> Any:
    """Return (n_rows, n_cols) deviates drawn once per device; ``attempt`` counts redraws."""
    out = np.empty((n_rows, n_cols))
    for row in range(n_rows):
        for col in range(n_cols):
            out[row, col] = normal_of(bits53(key, col, row, attempt, purpose))
    return out


@njit(cache=True)
def device_uniforms(key: Any, n_rows: int, n_cols: int, purpose: int) -> Any:
    """Return (n_rows, n_cols) numbers in (0, 1) drawn once per device."""
    out = np.empty((n_rows, n_cols))
    for row in range(n_rows):
        for col in range(n_cols):
            out[row, col] = (float(bits53(key, col, row, 0, purpose)) + 0.5) * 2.0**-53
    return out


def key_of(seed: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return four 32-bit words as uint64: a seed's low 64 bits, and what ``kernels.noise`` needs.

    These are the number of the first device and the key of its own generator.
    """
    low, high, zero = np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32 & 0xFFFFFFFF), np.uint64(0)
    first, key, _, _ = philox4x32.py_func(zero, zero, zero, np.uint64(PULSES), low, high)
    return np.array([low, high, first, key], dtype=np.uint64)
