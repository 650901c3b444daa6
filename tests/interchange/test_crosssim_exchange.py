"""Devices to and from CrossSim's tables and ramps."""

from __future__ import annotations

import numpy as np
import pytest
from devices import MODELS, U, device
from hil_sim.models.device import Device, load_device

from hil.errors import ConfigError
from hil.interchange.crosssim import RAMPS, TABLES, export, export_ramps, import_, import_ramps
from hil.interchange.steps import spread, step


def table(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a table as CrossSim does."""
    lines = text.splitlines()
    read = [np.genfromtxt(lines, delimiter=",", skip_header=k, max_rows=1) for k in (1, 2)]
    return read[0], read[1], np.genfromtxt(lines, delimiter=",", skip_header=3)


def drawn(text: str, g: float, n: int = 40_000) -> np.ndarray:
    """Draw steps at one conductance as CrossSim does: the nearest point and conductance."""
    at, points, rows = table(text)
    which = np.rint(np.random.default_rng(3).random(n) * (points.size - 1)).astype(int)
    return rows[which, np.abs(at - g).argmin()]


@pytest.mark.parametrize("model", list(MODELS))
def test_tables_hold_the_steps_and_their_spread(model):
    before = device(model, step_c2c=0.2, range_c2c=0.01)
    made = export(before, points=201)
    after = import_(dict(made.files), before).device
    assert after.model == "lookup"
    assert after.range == before.range
    for up in (True, False):
        want, size = step(before, up, U), spread(before, up, U)
        # A bend of the device's own table between two conductances is cut.
        assert step(after, up, U) == pytest.approx(want, abs=3e-3 * want.max())
        assert spread(after, up, U) == pytest.approx(size, rel=2e-2)


def test_crosssim_draws_steps_of_the_right_mean_and_spread():
    before = device("exponential", step_c2c=0.3)
    files = export(before, points=201).files
    low, high = before.range.g_min, before.range.g_max
    for name, up in zip(TABLES, (True, False), strict=True):
        for share in (0.1, 0.5, 0.8):
            got = drawn(files[name], low + share * (high - low)) / (high - low)
            u = np.array([share if up else 1 - share])
            want, size = step(before, up, u)[0], spread(before, up, u)[0]
            assert got.mean() == pytest.approx(want if up else -want, abs=5 * size / 200)
            assert got.std() == pytest.approx(size, rel=0.02)


def test_both_tables_share_an_even_grid_as_crosssim_needs_for_speed():
    g, points, rows = table(export(load_device("taox"), points=51).files[TABLES[0]])
    other = table(export(load_device("taox"), points=51).files[TABLES[1]])
    assert rows.shape == (51, 51)
    assert np.array_equal(g, other[0])
    assert np.array_equal(points, other[1])
    for steps in (np.diff(g), np.diff(points)):
        assert np.ptp(steps) < steps.max() / 1e4
    assert rows.mean() > 0 > other[2].mean()


def skewed() -> Device:
    """A device whose steps are now and then large: a table with quantiles."""
    values = device("lookup").model_dump(mode="json", by_alias=True, exclude_none=True)
    levels = [0.01, 0.1, 0.5, 0.9, 0.99]
    for branch in ("potentiation", "depression"):
        entry = values[branch]
        entry["levels"] = levels
        entry["quantiles"] = [
            [f"{factor * 1e-7:.6g} S" for _ in entry["g"]] for factor in (0.5, 0.6, 1.0, 3.0, 8.0)
        ]
    return Device.model_validate(values)


def test_the_shape_of_a_distribution_goes_there_and_back():
    before = skewed()
    made = export(before, points=301)
    after = import_(dict(made.files), before)
    assert after.device.potentiation.quantiles is not None
    assert any("shape is kept" in line for line in after.approximate)
    for name, up in zip(TABLES, (True, False), strict=True):
        sign = 1 if up else -1
        one = sign * drawn(made.files[name], 3e-5)
        two = sign * drawn(export(after.device, points=301).files[name], 3e-5)
        assert one.mean() == pytest.approx(two.mean(), rel=0.01)
        assert one.std() == pytest.approx(two.std(), rel=0.03)
        skew = [float(np.mean((x - x.mean()) ** 3) / x.std() ** 3) for x in (one, two)]
        assert min(skew) > 1.0
        assert skew[0] == pytest.approx(skew[1], rel=0.15)


def test_a_noiseless_device_stays_noiseless():
    after = import_(dict(export(device("querlioz"), points=101).files), device()).device
    assert after.potentiation.spread is None
    assert after.potentiation.quantiles is None


def test_ramps_give_the_response_back_within_their_noise():
    before = device("exponential", step_c2c=0.05)
    made = export_ramps(before, ramps=40)
    set_text = made.files[RAMPS[0]]
    assert len(set_text.splitlines()[1].split(",")) == 40
    read_v = before.drive.read_voltage
    currents = np.genfromtxt(set_text.splitlines(), delimiter=",", skip_header=1)
    assert currents[0] == pytest.approx(before.range.g_min * read_v)
    after = import_ramps(dict(made.files), before, read_v).device
    middle = U[2:-2]
    for up in (True, False):
        want = step(before, up, middle)
        assert step(after, up, middle) == pytest.approx(want, abs=0.03 * want.max())
        assert spread(after, up, middle) == pytest.approx(0.05 * want, rel=0.9)
    # Currents at another voltage are another range, unless it is said.
    other = import_ramps(dict(made.files), before, 2 * read_v).device
    assert other.range.g_max == pytest.approx(after.range.g_max / 2)


def test_what_the_tables_cannot_hold_is_listed_and_stands_in_their_first_line():
    preset = load_device("taox")
    made = export(preset, points=11)
    said = "\n".join(made.not_held)
    for part in ("potentiate_threshold", "law = sinh", "step_d2d", "read_noise", "write_width"):
        assert part in said
    first = made.files[TABLES[0]].splitlines()[0]
    for line in made.not_held:
        assert line.replace(",", ";") in first
    ramps = export_ramps(preset, ramps=3)
    assert "read_noise" not in "\n".join(ramps.not_held)
    assert "seed 0" in ramps.approximate[0]


def bad_tables(case: str) -> dict[str, str]:
    files = dict(export(device(), points=5).files)
    up = files[TABLES[0]].splitlines()
    if case == "exchanged":
        return {TABLES[0]: files[TABLES[1]], TABLES[1]: files[TABLES[0]]}
    if case == "short":
        up = up[:3]
    elif case == "text":
        up[3] = "a,b,c,d,e"
    elif case == "nan":
        up[3] = ",".join(["nan"] * 5)
    elif case == "rows":
        del up[4]
    elif case == "falling":
        up[1] = "5,4,3,2,1"
    elif case == "points":
        up[2] = "0,0,0,0,0"
    elif case == "other conductances":
        up[1] = "1,2,3,4,5"
    return {**files, TABLES[0]: "\n".join(up)}


BAD = {
    "exchanged": "exchanged", "short": "has a line of text", "text": "no line of numbers",
    "nan": "not finite", "rows": "do not fit", "falling": "must rise", "points": "must rise from 0",
    "other conductances": "different conductances",
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD))
def test_a_wrong_table_gets_a_clear_error(case):
    with pytest.raises(ConfigError, match=BAD[case]):
        import_(bad_tables(case), device(), "folder")


def test_wrong_ramps_get_a_clear_error():
    files = dict(export_ramps(device(), ramps=3).files)
    swapped = {RAMPS[0]: files[RAMPS[1]], RAMPS[1]: files[RAMPS[0]]}
    for text, message in (
        (swapped, "exchanged"),
        ({**files, RAMPS[0]: "title\n1e-6\n2e-6\n"}, "at least 3"),
        ({**files, RAMPS[0]: "title\n1,2\n1,2,3\n"}, "has 3 columns"),
        ({**files, RAMPS[0]: "title\nx\n"}, "no line of numbers"),
        (dict.fromkeys(RAMPS, "title\n-1\n-2\n-1\n"), "make no range"),
    ):
        with pytest.raises(ConfigError, match=message):
            import_ramps(text, device(), 0.1)
