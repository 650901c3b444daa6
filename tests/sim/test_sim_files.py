"""Device files, presets and the factory."""

from __future__ import annotations

import math
import subprocess
import sys

import jsonschema
import numpy as np
import pytest
from hil_sim.factory import SimFactory
from hil_sim.models.device import Device, load_device, preset_names, preset_text

from hil.config.station import Station
from hil.config.toml_file import parse_text, validate_text
from hil.errors import ConfigError
from hil.geometry import THREE_TERMINAL, ArrayGeometry
from hil.registry import BackendFactory, backend_factory

WANTED = {"gated-schottky", "hfox", "taox", "pcmo", "ecram", "ideal", "nonlinear"}


def with_line(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


def error_of(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        validate_text(text, Device, "mine.toml")
    return caught.value


@pytest.mark.parametrize(
    ("old", "new", "field", "says"),
    [
        ('g_max = "100 uS"', 'g_max = "0.5 uS"', "range.g_max", "not above g_min"),
        ('g_min = "1 uS"', 'g_min = "1 uA"', "range.g_min", "is a current"),
        ('g_min = "1 uS"', "g_min = 1e-6", "range.g_min", "no unit"),
        ('g_min = "1 uS"', 'g_min = "-1 uS"', "range.g_min", "greater than 0"),
        ("nu = 3.0", "nux = 3.0", "potentiation.nux", "did you mean 'nu'"),
        ("nu = 3.0", "beta = 3.0", "potentiation.nu", "needs it"),
        ("states = 256", "states = 0", "potentiation.states", "greater than or equal to 1"),
        ('model = "exponential"', 'model = "linear"', "potentiation.nu", "no such parameter"),
        ('model = "exponential"', 'model = "magic"', "model", "input should be"),
        ('potentiate_threshold = "1.2 V"', 'potentiate_threshold = "2 V"',
         "pulse.potentiate_threshold", "not below"),
        ('law = "power"', 'law = "sinh"', "pulse.potentiate_scale", "needs it"),
        ("step_c2c = 0.02", "step_c2c = -0.02", "variation.step_c2c", "greater than or equal"),
        ("step_c2c = 0.02", "step_c2c = nan", "variation.step_c2c", "finite"),
        ("step_c2c = 0.02", "stuck_at_min = 0.6\nstuck_at_max = 0.6",
         "variation.stuck_at_min", "add up to 1.2"),
        ('cell = "1R"', 'cell = "1T1R"', "cell", "needs a table [transistor]"),
        ("schema = 1", "schema = 2", "schema", "1"),
        ('read_width = "10 us"', 'read_width = "0 us"', "drive", "must be above 0 s"),
    ],
)  # fmt: skip
def test_a_wrong_device_file_names_file_line_and_field(old, new, field, says):
    text = with_line(preset_text("nonlinear"), old, new)
    error = error_of(text)
    assert error.field is not None
    assert error.field.startswith(field)
    assert says in str(error)
    assert str(error).startswith(f"mine.toml:{error.line}: ")
    key = field.split(".")[-1]
    if key in text:
        assert key in text.splitlines()[error.line - 1] or "needs it" in says


def test_g_min_above_g_max_points_at_its_line():
    error = error_of(with_line(preset_text("nonlinear"), 'g_max = "100 uS"', 'g_max = "0.5 uS"'))
    assert 'g_max = "0.5 uS"' in preset_text("nonlinear").replace(
        'g_max = "100 uS"', 'g_max = "0.5 uS"'
    ).splitlines()[error.line - 1]  # fmt: skip


def test_the_wanted_presets_are_shipped_with_sources_and_provenance():
    assert set(preset_names()) >= WANTED
    for name in preset_names():
        device = load_device(name)
        assert device.name == name
        assert device.provenance
        assert device.sources or name == "ideal"
        assert device.schema_ == 1


@pytest.mark.parametrize("name", preset_names())
def test_a_presets_operating_point_fits_its_device(name):
    backend, op = SimFactory().open_device(name, 3, 3, seed=1)
    device = backend.device
    assert op.g_min_siemens == device.range.g_min
    assert op.g_max_siemens == device.range.g_max
    assert op.potentiate_v == device.pulse.potentiate_voltage
    assert op.depress_v == device.pulse.depress_voltage
    assert op.write_s == device.pulse.width
    if device.pulse.law == "power":
        assert op.potentiate_v / 2 < device.pulse.potentiate_threshold
        assert op.depress_v / 2 > device.pulse.depress_threshold
    assert abs(op.read_v) == pytest.approx(device.current.read_voltage)
    if device.cell == "1T1R":
        overdrive = op.gate_read_v - device.transistor.threshold
        assert overdrive * device.transistor.transconductance > device.range.g_max * op.read_v
    if device.forming is not None and not device.forming.formed:
        assert op.form_v > device.forming.voltage
        assert op.form_s > 0
        assert math.isfinite(op.form_compliance_a)
    if device.erase is not None:
        assert (op.erase_v, op.erase_s) == (device.erase.voltage, device.erase.width)


def test_the_published_values_of_the_presets():
    taox, hfox, pcmo = (load_device(n) for n in ("taox", "hfox", "pcmo"))
    assert (taox.potentiation.states, hfox.potentiation.states, pcmo.potentiation.states) == (
        128, 40, 50,
    )  # fmt: skip
    for device, on_ohm, ratio in ((taox, 100e3, 10), (hfox, 16.9e3, 4.43), (pcmo, 23e6, 6.84)):
        assert device.range.g_max == pytest.approx(1 / on_ohm, rel=2e-3)
        assert device.range.g_max / device.range.g_min == pytest.approx(ratio, rel=2e-3)
    assert (taox.variation.range_c2c, hfox.variation.range_c2c) == (0.037, 0.05)


def test_the_schema_accepts_the_presets_and_refuses_a_wrong_field():
    factory = SimFactory()
    schema = factory.schemas()["device"]
    for name in preset_names():
        jsonschema.validate(parse_text(preset_text(name)), schema)
    wrong = parse_text(preset_text("ideal")) | {"colour": "red"}
    with pytest.raises(jsonschema.ValidationError, match="colour"):
        jsonschema.validate(wrong, schema)


def test_the_template_is_a_commented_valid_device_file(tmp_path):
    ((name, text),) = SimFactory().templates().items()
    assert name == "device.toml"
    assert "#" in text
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_device(tmp_path / name).model == "exponential"


def station(tmp_path, array: str = "", extra: str = "") -> Station:
    from hil.config.station import load_station

    path = tmp_path / "station.toml"
    path.write_text(f"schema = 1\n{extra}\n[[array]]\nrows = 4\ncols = 6\n{array}\n", "utf-8")
    return load_station(path)


def test_the_entry_point_is_a_backend_factory():
    factory = backend_factory("sim")
    assert isinstance(factory, BackendFactory)
    assert factory.simulated
    assert any("nonlinear" in line for line in factory.doctor())


def test_a_station_names_a_preset_or_a_file_beside_it(tmp_path):
    text = preset_text("ideal").replace('name = "ideal"', 'name = "mine"')
    (tmp_path / "mine.toml").write_text(text, "utf-8")
    for name, expected in (("nonlinear", "nonlinear"), ("mine.toml", "mine")):
        there = station(tmp_path, f'device = "{name}"')
        backend = SimFactory().create(there, there.array[0], seed=3)
        assert backend.device.name == expected
        assert backend.geometry.shape == (4, 6)
        assert SimFactory().operating_point(there, there.array[0]).read_v == 0.2


def test_arrays_of_a_station_have_their_own_devices(tmp_path):
    there = station(
        tmp_path, 'name = "a"\ndevice = "nonlinear"\n[[array]]\nname = "b"\nrows = 4\ncols = 6\n'
        'device = "nonlinear"',
    )  # fmt: skip
    a, b = (SimFactory().create(there, x, seed=3).array.population.params for x in there.array)
    again = SimFactory().create(there, there.array[0], seed=3).array.population.params
    other = SimFactory().create(there, there.array[0], seed=4).array.population.params
    assert np.array_equal(a, again)
    assert not np.isclose(a[..., 2], b[..., 2], rtol=1e-9, atol=0).any()
    assert not np.isclose(a[..., 2], other[..., 2], rtol=1e-9, atol=0).any()


def test_limits_and_twin_of_the_station_are_obeyed(tmp_path):
    extra = '[limits]\nlevel = ["-1 V", "1 V"]\n[twin]\nper_line_width = false\n'
    extra += 'level_resolution = "1 mV"\n'
    there = station(tmp_path, 'device = "ideal"', extra)
    backend = SimFactory().create(there, there.array[0], seed=0)
    assert backend.limits.level_v.max == 1.0
    assert not backend.capabilities.per_line_width
    assert backend.capabilities.level_v.resolution == 1e-3
    plain = station(tmp_path, 'device = "ideal"')
    assert SimFactory().create(plain, plain.array[0], seed=0).mimic is None


@pytest.mark.parametrize(
    ("array", "says"),
    [
        ("", "names no device to simulate"),
        ('device = "unobtainium"', "no device preset 'unobtainium'"),
        ('device = "missing.toml"', "cannot be read"),
        ('device = "hfox"', "1T1R cells, the array 1R"),
    ],
)
def test_a_station_that_cannot_be_simulated_says_why(tmp_path, array, says):
    there = station(tmp_path, array)
    with pytest.raises(ConfigError, match=says):
        SimFactory().create(there, there.array[0], seed=0)


def test_open_device_takes_a_geometry_and_refuses_unknown_options():
    geometry = ArrayGeometry(4, 5, THREE_TERMINAL, block_rows=2)
    backend, _ = SimFactory().open_device("gated-schottky", 1, 1, seed=0, geometry=geometry)
    assert backend.geometry is geometry
    with pytest.raises(ConfigError, match="gravity"):
        SimFactory().open_device("ideal", 2, 2, seed=0, gravity=9.81)


def test_importing_the_factory_loads_nothing_heavy():
    code = (
        "import sys, hil_sim.factory, hil_sim.backend\n"
        "heavy = {'numba', 'scipy', 'pyarrow', 'pytest', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
