"""Our presets against the curves that NeuroSim and aihwkit publish of measured devices."""

from __future__ import annotations

import numpy as np
import published
import pytest
from hil_sim.models.conversions import label_of_nu
from hil_sim.models.device import load_device


@pytest.mark.parametrize("name", published.NEUROSIM)
def test_a_preset_gives_the_curve_that_neurosim_documents(name):
    """Every point within 0.1 % of the range: ν in a file has five digits."""
    device = published.NEUROSIM[name]
    up, down = published.neurosim_curve(device)
    ours = published.our_curve(name, device.up, device.down)
    span = up[-1] - up[0]
    assert ours[0] == pytest.approx(up, abs=1e-3 * span)
    assert ours[1] == pytest.approx(down, abs=1e-3 * span)


@pytest.mark.parametrize("name", published.NEUROSIM)
def test_a_preset_has_the_labels_and_range_that_neurosim_documents(name):
    device, preset = published.NEUROSIM[name], load_device(name)
    assert label_of_nu(preset.potentiation.nu) == pytest.approx(device.label_up, abs=2e-3)
    assert -label_of_nu(preset.depression.nu) == pytest.approx(device.label_down, abs=2e-3)
    assert 1.0 / preset.range.g_max == pytest.approx(device.r_on_ohm, rel=2e-3)
    assert preset.range.g_max / preset.range.g_min == pytest.approx(device.on_off, rel=2e-3)


@pytest.mark.parametrize("name", published.AIHWKIT)
def test_a_preset_gives_the_curve_of_its_aihwkit_device(name):
    """Equations of one step are equal; a look-up table between nodes is not quite."""
    device = published.AIHWKIT[name]
    pulses = min(published.pulses_of(device), 200)
    up, down = published.aihwkit_curve(device, pulses)
    preset = load_device(name)
    ours = published.our_curve(name, pulses, pulses)
    span = preset.range.g_max - preset.range.g_min
    tolerance = 6e-3 if device.kind == "exp" else 1e-5
    for theirs, own in zip((up, down), ours, strict=True):
        assert (own - preset.range.g_min) / span == pytest.approx(theirs, abs=tolerance)


def test_a_wrong_parameter_would_be_seen():
    """The tolerance is not so wide that a neighbouring device would pass."""
    ours = published.our_curve("taox", 128, 128)[1]
    other = published.neurosim_curve(
        published.NeuroSim(128, 128, 0.04, -0.68, 100e3, 10.0)
    )[1]  # fmt: skip
    assert np.abs(ours - other).max() > 1e-3 * (ours[0] - ours[-1])
