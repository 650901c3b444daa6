"""Deviates of whole rows at once are those of the devices one after another."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.kernels import noise, philox


@pytest.mark.parametrize("row", [0, 7, 65530, 65536])
def test_rows_at_once_draw_what_adjoining_devices_draw(row):
    n_rows, n_cols, key = 6, 37, philox.key_of(5)
    pulses = np.random.default_rng(1).integers(0, 9, n_rows * n_cols).astype(np.uint32)
    places = np.empty(n_rows * n_cols, np.uint32)
    noise.places_of_rows(n_cols, places)
    one, other = noise.new_noise(), noise.new_noise()
    first, second = pulses.copy(), pulses.copy()
    noise.draw_rows(key, row, n_cols, places, first, one)
    noise.draw_adjoining(key, row * n_cols, n_cols, second, other)
    assert np.array_equal(one[noise.Z][: pulses.size], other[noise.Z][: pulses.size])
    assert np.array_equal(first, pulses + 1)
    assert np.array_equal(second, pulses + 1)
