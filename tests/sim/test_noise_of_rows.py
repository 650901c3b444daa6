"""Deviates of whole rows at once are those of the devices one after another."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.kernels import noise, philox


@pytest.mark.parametrize("row", [0, 7, 65530, 65536])
def test_rows_at_once_draw_what_adjoining_devices_draw(row):
    n_rows, n_cols, key = 6, 37, philox.key_of(5)
    pulses = np.random.default_rng(1).integers(0, 9, (row + n_rows) * n_cols).astype(np.uint32)
    start, stop = row * n_cols, pulses.size
    one, other = noise.new_noise(), noise.new_noise()
    first, second = pulses.copy(), pulses.copy()
    noise.draw_rows(key, start, stop, n_cols, noise.places_of_rows(n_cols), first, one)
    noise.draw_adjoining(key, start, n_cols, second[start:], other)
    assert np.array_equal(one[noise.Z][: stop - start], other[noise.Z][: stop - start])
    pulses[start:] += 1
    assert np.array_equal(first, pulses)
    assert np.array_equal(second, pulses)


def test_rows_longer_than_a_batch_have_no_places():
    assert noise.places_of_rows(noise.PULSES).size == noise.PULSES
    assert noise.places_of_rows(noise.PULSES + 1).size == 0
    assert noise.places_of_rows(700).size == noise.PULSES // 700 * 700
