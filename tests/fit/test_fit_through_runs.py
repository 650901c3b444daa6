"""Known parameters come back from pulses that `hil run ltp-ltd` drove and recorded."""

from __future__ import annotations

import json

import pytest
from recorded import bench, run
from scenarios import SCENARIOS, table

from hil.fit.estimate import fit_devices
from hil.fit.reading import read_measured

MODELS = ["linear", "exponential", "querlioz", "soft-bounds", "lookup"]
G_MIN, G_MAX = 2e-6, 5e-5  # of the devices of `bench`


def known_device(model: str):
    """Return the scenario of a model with its tables in the range of `bench`."""
    scenario = SCENARIOS[model]
    if model == "lookup":
        up, down = table(0.06, 0.012), table(0.05, 0.015, up=False)
        for branch in (up, down):
            for key, offset in (("g", G_MIN), ("delta_g", 0.0)):
                first = 1e-6 if key == "g" else 0.0
                values = [float(text.removesuffix(" S")) for text in branch[key]]
                scale = (G_MAX - G_MIN) / 9e-6
                branch[key] = [f"{offset + (x - first) * scale:.12g} S" for x in values]
        scenario = scenario._replace(potentiation=up, depression=down)
    return scenario


def as_toml(values: dict) -> str:
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())


@pytest.mark.parametrize("model", MODELS)
def test_a_recorded_run_gives_the_device_back(model, tmp_path):
    """Every parameter within 4 standard errors, and nearly all inside their 95 % interval."""
    known = known_device(model)
    folder = bench(
        tmp_path, model=model, potentiation=as_toml(known.potentiation),
        depression=as_toml(known.depression), variation=as_toml(known.variation), rows=6, cols=5,
        seed=11,
    )  # fmt: skip
    curves = run(folder, "ltp-ltd", cycles=4, pulses=known.pulses)
    measured = read_measured([curves]).measured
    assert measured.responses.pulses.sum() == 6 * 5 * 4 * 2 * known.pulses
    fit = fit_devices(measured, models=[model], threads=1).best
    truth = known.truth() | {"range.g_min": G_MIN, "range.g_max": G_MAX}
    far = {}
    inside = 0
    for name, true in truth.items():
        found = fit.parameters[name]
        inside += true in found
        low, high = found.value - found.low, found.high - found.value
        if not found.value - 2.05 * low <= true <= found.value + 2.05 * high:
            far[name] = (true, found)
    assert far == {}
    assert inside >= 0.75 * len(truth)
