from __future__ import annotations

import json
import os
import subprocess
import sys

import jsonschema
import numpy as np
import pytest
from command import HIL, SHORT_TRAINING, STATION, hil, hil_json, write

import hil as hil_package
from hil.cli.commands import COMMANDS
from hil.cli.failures import EXIT_CODES
from hil.record import open_run

HEAVY = (
    "numpy",
    "numba",
    "scipy",
    "pyarrow",
    "pydantic",
    "matplotlib",
    "pandas",
    "pyvisa",
    "serial",
)


@pytest.fixture
def bench(tmp_path):
    write(tmp_path, "station.toml", STATION)
    return tmp_path


@pytest.mark.parametrize("arguments", [["--help"], [], ["--version"]])
def test_help_loads_no_heavy_module(arguments):
    code = (
        "import sys\n"
        "from hil.cli.main import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "finally:\n"
        f"    print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"


def test_help_names_every_command_and_exit_code():
    text = " ".join(hil("--help").stdout.split())
    assert all(f" {name} " in text for name in COMMANDS)
    assert all(f"{code} " in text for code in EXIT_CODES)


def test_the_version_is_the_packages():
    assert hil("--version").stdout.strip() == f"synapse-hil {hil_package.__version__}"


def test_every_command_takes_json():
    for name in COMMANDS:
        assert "--json" in hil(name, "--help").stdout, name


def test_output_is_utf_8_whatever_the_locale(bench):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [*HIL, "dry-run", "read-map", "-s", "station.toml", "--sim"], cwd=bench, env=environment,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "∫V²dt" in done.stdout.decode("utf-8")


def test_a_wrong_command_line_is_one_line_and_code_2():
    for arguments in (["fly"], ["run"], ["run", "--speed", "9"], ["show", "--json"]):
        done = hil(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("hil: ")
        assert len(done.stderr.splitlines()) == 1
    assert json.loads(hil("show", "--json").stdout)["error"]["exit_code"] == 2


def test_starter_files_are_right_and_never_overwritten(tmp_path):
    written = hil_json("init", "lab", cwd=tmp_path)["files"]
    assert sorted(f.rsplit("/", 1)[-1] for f in written) == [
        "device.toml", "protocol.toml", "station.toml", "training.toml",
    ]  # fmt: skip
    checked = hil_json("check", *written, cwd=tmp_path)
    assert checked["ok"]
    assert {row["kind"] for row in checked["files"]} == {
        "device", "protocol", "station", "training",
    }  # fmt: skip
    (tmp_path / "lab" / "station.toml").unlink()
    before = {p: p.read_bytes() for p in (tmp_path / "lab").iterdir()}
    done = hil("init", "lab", cwd=tmp_path)
    assert done.returncode == 3
    assert "exists already; nothing was written" in done.stderr
    assert {p: p.read_bytes() for p in (tmp_path / "lab").iterdir()} == before


@pytest.mark.parametrize("kind", ["station", "protocol", "device", "training"])
def test_schemas_accept_the_starter_files(tmp_path, kind):
    import tomllib

    hil("init", "lab", cwd=tmp_path)
    schema = hil_json("schema", kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    values = tomllib.loads((tmp_path / "lab" / f"{kind}.toml").read_text())
    jsonschema.validate(values, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**values, "unknown_field": 1}, schema)


def test_a_run_is_recorded_with_its_backend_first(bench):
    done = hil("run", "read-map", "--station", "station.toml", "--sim", cwd=bench)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("backend: sim: ")
    assert lines[1].startswith("run: runs")
    run = open_run(bench / lines[1].removeprefix("run: "))
    assert (run.status, run.manifest["backend"], run.manifest["simulated"]) == ("done", "sim", True)
    assert run.reads.num_rows == 64
    assert (run.path / "config" / "station.toml").read_text() == STATION
    assert (run.path / "config" / "protocol.toml").is_file()
    assert run.verify() == ()


def test_json_is_one_object_with_the_run(bench):
    found = hil_json("run", "read-map", "--station", "station.toml", "--sim", cwd=bench)
    assert found["status"] == "done"
    assert found["simulated"] is True
    assert np.array(found["outcome"]["g_siemens"]).size == 64
    shown = hil_json("show", found["run"], "--verify", cwd=bench)
    assert shown["status"] == "done"
    assert shown["rows"]["reads"] == found["readings"] == 64
    assert shown["problems"] == []


@pytest.mark.parametrize(
    ("level", "tables"), [("full", {"ops", "reads"}), ("operation", {"ops"}), ("off", set())]
)
def test_the_level_says_what_is_recorded(bench, level, tables):
    found = hil_json(
        "run", "read-map", "--station", "station.toml", "--sim", "--level", level, cwd=bench
    )
    run = open_run(bench / found["run"])
    rows = {name for name in ("ops", "pulses", "reads") if getattr(run, name).num_rows}
    assert rows == tables
    assert set(run.manifest["levels"].values()) == {level}


def test_one_seed_gives_one_run(bench):
    def read(seed):
        arguments = ("run", "read-map", "--station", "station.toml", "--sim", "--seed", seed)
        return hil_json(*arguments, cwd=bench)["outcome"]["g_siemens"]

    first = read(5)
    assert first == read(5)
    assert first != read(6)


def test_a_missing_backend_is_never_replaced_by_the_simulator(bench):
    write(bench, "station.toml", STATION.replace("schema = 1", 'schema = 1\nbackend = "absent"'))
    done = hil("run", "read-map", "--station", "station.toml", cwd=bench)
    assert done.returncode == 5
    assert len(done.stderr.splitlines()) == 1
    assert "'absent'" in done.stderr
    assert not (bench / "runs").exists()


def test_a_dry_run_of_a_static_protocol_is_what_the_run_then_does(bench):
    predicted = hil_json("dry-run", "ltp-ltd", "--station", "station.toml", "--sim", cwd=bench)
    assert not (bench / "runs").exists()
    ran = hil_json("run", "ltp-ltd", "--station", "station.toml", "--sim", cwd=bench)
    numbers = predicted["predicted"]
    assert numbers["device_pulses"] == ran["device_pulses"]
    assert numbers["readings"] == ran["readings"]
    assert numbers["seconds"] == pytest.approx(ran["duration_s"], rel=1e-6)
    with np.load(bench / ran["run"] / "checkpoints" / "ledger.npz") as ledger:
        selected = ledger["selected_plus"].astype(int) + ledger["selected_minus"]
        lines = ledger["row_pulses"].astype(int)[:, None] + ledger["col_pulses"].astype(int)
    assert numbers["most_pulses_on_a_device"] == selected.max()
    assert numbers["half_selects"] == (lines - 2 * selected).sum()
    size = sum(f.stat().st_size for f in (bench / ran["run"]).rglob("*") if f.is_file())
    assert size / 3 < numbers["bytes"] < 3 * size


def test_a_dry_run_of_an_adaptive_protocol_is_a_distribution(bench):
    found = hil_json(
        "dry-run", "write-verify", "--station", "station.toml", "--sim", "--seeds", "4", cwd=bench
    )
    assert found["adaptive"]
    assert len(found["seeds"]) == 4
    pulses = found["distribution"]["device_pulses"]
    assert 0 < pulses["p5"] <= pulses["median"] <= pulses["p95"]
    assert pulses["p5"] < pulses["p95"]
    assert found["predicted"]["worst_v"] == pytest.approx(2.0)


def test_explain_lists_what_a_cell_sees_and_draws_it(bench):
    found = hil_json(
        "explain", "read-map", "--station", "station.toml", "--sim", "--cell", "3,5", "--plot",
        "pulses.png", cwd=bench,
    )  # fmt: skip
    assert found["cell"] == [3, 5]
    assert [event["phase"] for event in found["events"]] == ["READ"]
    assert (bench / "pulses.png").read_bytes().startswith(b"\x89PNG")
    done = hil("explain", "read-map", "-s", "station.toml", "--sim", "--cell", "x", cwd=bench)
    assert done.returncode == 3
    assert "'x' is no cell" in done.stderr


def test_a_training_is_recorded_with_its_weights(bench):
    write(bench, "station.toml", STATION.replace("rows = 8\ncols = 8", "rows = 70\ncols = 20"))
    write(bench, "training.toml", SHORT_TRAINING)
    found = hil_json("train", "training.toml", "--station", "station.toml", "--sim", cwd=bench)
    assert 0.0 <= found["accuracy"]["test"] <= 1.0
    assert found["pulses"]["write"] > 0
    assert [epoch["epoch"] for epoch in found["epochs"]] == [0]
    run = open_run(bench / found["run"])
    assert run.status == "done"
    assert run.manifest["kind"] == "train"
    assert run.manifest["levels"]["update"] == "operation"
    assert (run.path / "config" / "training.toml").read_text() == SHORT_TRAINING
    with np.load(run.path / "checkpoints" / "weights.npz") as weights:
        assert weights["layer_0"].shape == (65, 4)
        assert weights["layer_1"].shape == (5, 10)


def test_doctor_says_what_is_there():
    found = hil_json("doctor")
    assert any("sim (simulated" in name for name in found["backends"])
    assert "read-map" in found["protocols"]
    assert found["software"]["synapse-hil"] == hil_package.__version__
    assert "us" in found["overhead"]["sim, per block"]
    assert found["instruments"]["serial"]


def test_a_backend_that_does_not_load_is_named_by_doctor(tmp_path):
    info = tmp_path / "broken-0.dist-info"
    info.mkdir()
    write(info, "METADATA", "Metadata-Version: 2.1\nName: broken\nVersion: 0\n")
    write(info, "entry_points.txt", "[hil.backends]\nbroken = no_such_module:Factory\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "from hil.cli.main import main; main(['doctor', '--json'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "No module named 'no_such_module'" in json.loads(done.stdout)["backends"]["broken"]


def test_show_names_what_is_damaged(bench):
    found = hil_json("run", "read-map", "--station", "station.toml", "--sim", cwd=bench)
    segment = next((bench / found["run"] / "reads").iterdir())
    content = bytearray(segment.read_bytes())
    content[-60] ^= 0xFF
    segment.write_bytes(bytes(content))
    shown = hil_json("show", found["run"], "--verify", cwd=bench, code=7)
    assert any("reads/" in problem for problem in shown["problems"])
    assert hil("show", bench).returncode == 7
    assert "not a run folder" in hil("show", bench).stderr


def test_an_unexpected_error_is_short_and_asks_for_a_report(tmp_path):
    write(tmp_path, "station.toml", STATION.replace("rows = 8\ncols = 8", "rows = 70\ncols = 20"))
    write(tmp_path, "t.toml", SHORT_TRAINING)
    write(tmp_path, "broken.py", (
        "from hil.cli.main import main\nfrom hil.learning.methods import PairRule\n"
        "PairRule.slots = lambda *_: 1 / 0\n"
        'main(["train", "t.toml", "-s", "station.toml", "--sim", "--json"])\n'
    ))  # fmt: skip
    done = subprocess.run(
        [sys.executable, "broken.py"], cwd=tmp_path, capture_output=True, text=True,
        encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["type"] == "ZeroDivisionError"
    assert "please report it" in done.stderr
    assert "broken.py" in done.stderr
    assert len(done.stderr.splitlines()) < 20
    run = open_run(next((tmp_path / "runs").iterdir()))
    assert run.status == "failed"
    assert "ZeroDivisionError" in run.stop["error"]


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    if sys.platform == "win32":
        pytest.skip("pipes end differently on Windows")
    process = subprocess.Popen([*HIL, "schema", "station"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)  # fmt: skip
    process.stdout.close()
    stderr = process.stderr.read()
    process.wait(60)
    process.stderr.close()
    assert stderr == b""


def test_explain_and_dry_run_use_the_twin_where_the_rig_cannot_be_made(bench):
    for command in ("explain", "dry-run"):
        done = hil(command, "read-map", "--station", "station.toml", cwd=bench)
        assert done.returncode == 0, done.stderr
        assert "nothing is driven, so the twin stands in" in done.stderr
        assert done.stdout.startswith("backend: sim")


def test_dry_run_of_a_training_is_a_distribution_over_simulated_trainings(bench):
    write(bench, "station.toml", STATION.replace("rows = 8\ncols = 8", "rows = 70\ncols = 40"))
    write(bench, "training.toml", SHORT_TRAINING)
    done = hil_json(
        "dry-run", "training.toml", "--station", "station.toml", "--sim", "--seeds", "2", cwd=bench
    )
    spread = done["distribution"]
    assert done["kind"] == "training"
    assert len(done["seeds"]) == 2
    assert spread["device_pulses"]["p5"] < spread["device_pulses"]["p95"]
    assert 0.0 < spread["test_accuracy"]["median"] <= 1.0
    assert done["predicted"]["worst_half_selected_v"] in (1.0, -1.0)
    assert not (bench / "runs").exists()
