from __future__ import annotations

import numpy as np
import pytest

from hil.learning.neuron import gate, hard_sigmoid, one_hot, output_error, slope, squared_error


def test_hard_sigmoid_is_a_clipped_line_through_one_half():
    s = np.array([-9.0, -2.0, -1.0, 0.0, 1.0, 2.0, 9.0])
    assert hard_sigmoid(s) == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, 1])


def test_slope_is_the_derivative_of_the_hard_sigmoid_away_from_its_corners():
    s = np.random.default_rng(3).uniform(-4, 4, 500)
    s = s[np.abs(np.abs(s) - 2) > 1e-3]
    h = 1e-6
    numeric = (hard_sigmoid(s + h) - hard_sigmoid(s - h)) / (2 * h)
    assert slope(s) == pytest.approx(numeric, abs=1e-6)


def test_gate_is_one_bit():
    assert set(np.unique(gate(np.linspace(-5, 5, 101)))) == {0.0, 1.0}


def test_output_error_is_minus_the_gradient_of_the_squared_error():
    rng = np.random.default_rng(5)
    y, target = rng.random(6), rng.random(6)
    h = 1e-6
    for k in range(6):
        up, down = y.copy(), y.copy()
        up[k] += h
        down[k] -= h
        numeric = (squared_error(up, target) - squared_error(down, target)) / (2 * h)
        assert output_error(y, target)[k] == pytest.approx(-numeric, abs=1e-6)


def test_one_hot_marks_the_label_only():
    assert one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
