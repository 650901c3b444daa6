"""The run folder: what is written, when, and read back."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from recording import make, measured, read_block

from hil.errors import ConfigError, RunInterrupted, StoreError
from hil.limits import SafetyLimits
from hil.measurement import COLUMNS
from hil.program import Phase
from hil.record import CommitPolicy, durable, open_run


def test_readings_come_back_as_they_were_measured(tmp_path, rng):
    blocks = [measured(rng) for _ in range(7)]
    with make(tmp_path) as run:
        for ordinal, m in enumerate(blocks):
            run.readings(4, ordinal, read_block(), m)
    table = open_run(run.path).reads
    assert table.column_names == ["op", "block", *COLUMNS]
    for name in COLUMNS:
        expected = np.concatenate([m.columns()[name] for m in blocks])
        np.testing.assert_array_equal(table[name].to_numpy(), expected)
        assert table[name].to_numpy().dtype == expected.dtype
    assert set(table["op"].to_pylist()) == {4}
    np.testing.assert_array_equal(table["block"].to_numpy(), np.repeat(np.arange(7), 15))


def test_values_changed_after_the_append_do_not_change_the_record(tmp_path, rng):
    m = measured(rng)
    before = m.current_a.copy()
    with make(tmp_path) as run:
        run.readings(0, 0, read_block(), m)
        m.current_a[:] = 0.0
    np.testing.assert_array_equal(open_run(run.path).reads["current_a"].to_numpy(), before)


def test_small_and_large_appends_keep_their_order(tmp_path, rng):
    sizes = [1, 4095, 1, 9000, 2, 4096, 3]
    with make(tmp_path) as run:
        for ordinal, n in enumerate(sizes):
            run.readings(0, ordinal, read_block(), measured(rng, n))
    opened = open_run(run.path)
    np.testing.assert_array_equal(
        opened.reads["block"].to_numpy(), np.repeat(np.arange(len(sizes)), sizes)
    )
    assert opened.problems == ()


def test_pulses_are_numbered_without_gaps_and_nulls_stay_null(tmp_path):
    with make(tmp_path) as run:
        for col in range(3):
            run.pulses(
                {
                    "op": 1, "phase": Phase.UPDATE, "row": [5, 6], "col": col, "v": 1.5,
                    "width": 1e-6, "count": [1, 2], "g0": [1e-6, np.nan], "g1": 2e-6,
                    "executed": np.ma.masked_array([1, 7], mask=[False, True]),
                }
            )  # fmt: skip
    table = open_run(run.path).pulses
    assert table["seq"].to_pylist() == list(range(6))
    assert table["executed"].to_pylist() == [1, None] * 3
    assert table["g0"].to_pylist()[1] is None
    assert table["g0"].to_pylist()[0] == pytest.approx(1e-6)
    assert table["temperature"].null_count == 6
    assert table["row"].to_pylist() == [5, 6] * 3
    assert table["layer"].to_pylist() == [0] * 6
    assert np.all(np.diff(table["t_ns"].to_numpy()[::2]) >= 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"row": 70000}, "pulses.row: 70000 is outside 0 to 65535"),
        ({"count": -1}, "pulses.count: -1 is outside"),
        ({"count": 1.5}, "pulses.count: a value is no whole number"),
        ({"count": np.nan}, "pulses.count: nan is outside"),
        ({"col": [1, 2, 3]}, "pulses.col: 3 rows, others have 2"),
        ({"voltage": 1.0}, "unknown columns: voltage"),
        ({"phase": 200}, "no phase 200"),
        ({"v": "1 V"}, "pulses.v"),
        ({"row": np.ma.masked_array([1, 2], [True, False])}, "cannot be null"),
    ],
)
def test_a_pulse_column_that_does_not_fit_is_refused(tmp_path, change, says):
    rows = {
        "op": 1, "phase": Phase.UPDATE, "row": [5, 6], "col": 1, "v": 1.5, "width": 1e-6,
        "count": 1,
    }  # fmt: skip
    with make(tmp_path) as run:
        with pytest.raises(StoreError, match=re.escape(says)):
            run.pulses(rows | change)
        with pytest.raises(StoreError, match="missing columns: v"):
            run.pulses({k: v for k, v in rows.items() if k != "v"})
        run.pulses(rows)
    assert open_run(run.path).pulses.num_rows == 2


def test_operations_are_summarised_in_one_row_each(tmp_path):
    with make(tmp_path) as run:
        for op in range(5000):
            run.operation(
                op, Phase.UPDATE, 1, n_steps=2, n_pulses=64, n_readings=0, duration_s=2e-6,
                energy_joule=1e-12, t_ns=op * 1000,
            )  # fmt: skip
        run.operation(5000, Phase.READ)
    table = open_run(run.path).ops
    assert table["seq"].to_pylist() == list(range(5001))
    first = table.slice(0, 1).to_pylist()[0]
    assert first == {
        "seq": 0, "t_ns": 0, "op": 0, "phase": Phase.UPDATE, "layer": 1, "n_steps": 2,
        "n_pulses": 64, "n_readings": 0, "duration_s": 2e-6, "energy_joule": 1e-12,
    }  # fmt: skip
    assert np.isnan(table["energy_joule"].to_numpy()[-1])


@pytest.mark.parametrize("name", ["reads", "pulses", "ops"])
def test_every_column_carries_its_unit_and_meaning(tmp_path, name):
    with make(tmp_path) as run:
        pass
    table = getattr(open_run(run.path), name)
    assert table.num_rows == 0
    in_manifest = {c["name"]: c for c in run.manifest["tables"][name]}
    for field in table.schema:
        assert field.metadata[b"meaning"]
        assert in_manifest[field.name]["unit"] == field.metadata[b"unit"].decode()
    unit = {field.name: field.metadata[b"unit"].decode() for field in table.schema}
    assert unit["t_ns"] == "ns"
    if name == "pulses":
        assert [unit[c] for c in ("v", "width", "i_read", "g0", "temperature")] == [*"VsASK"]


def test_a_data_frame_keeps_units_and_unknown_counts(tmp_path):
    pd = pytest.importorskip("pandas")
    with make(tmp_path) as run:
        run.pulses(
            {"op": 1, "phase": 3, "row": [5, 6], "col": 0, "v": 1, "width": 1e-6, "count": 1,
             "executed": np.ma.masked_array([3, 0], mask=[False, True])}
        )  # fmt: skip
    frame = open_run(run.path).to_pandas("pulses")
    assert frame.attrs["units"]["g0"] == "S"
    assert frame["executed"].iloc[0] == 3
    assert frame["executed"].iloc[1] is pd.NA
    with pytest.raises(StoreError, match="no table 'pulse'"):
        open_run(run.path).to_pandas("pulse")


def test_levels_decide_what_each_phase_records(tmp_path, rng):
    levels = {Phase.FORWARD: "operation", "idle": "off", Phase.UPDATE: "full"}
    with make(tmp_path, levels=levels) as run:
        for phase in (Phase.FORWARD, Phase.IDLE, Phase.UPDATE):
            run.readings(1, 0, read_block(phase), measured(rng))
            run.operation(1, phase)
        phases = np.array([Phase.FORWARD, Phase.UPDATE, Phase.IDLE, Phase.UPDATE])
        run.pulses(
            {"op": 1, "phase": phases, "row": [0, 1, 2, 3], "col": 0, "v": 1.0, "width": 1e-6,
             "count": 1, "g1": [np.nan, 1e-6, 1e-6, np.nan]}
        )  # fmt: skip
    opened = open_run(run.path)
    assert opened.reads.num_rows == 15
    assert opened.ops["phase"].to_pylist() == [Phase.FORWARD, Phase.UPDATE]
    assert opened.pulses["row"].to_pylist() == [1, 3]
    assert opened.pulses["seq"].to_pylist() == [0, 1]
    assert opened.pulses["g1"].null_count == 1
    assert opened.manifest["levels"]["forward"] == "operation"
    assert opened.manifest["levels"]["read"] == "full"


@pytest.mark.parametrize("levels", ["loud", {Phase.READ: "loud"}, {"reed": "full"}])
def test_a_level_or_phase_that_does_not_exist_is_refused(tmp_path, levels):
    with pytest.raises(ConfigError, match=r"level 'loud'|phase 'reed'"):
        make(tmp_path, levels=levels)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_rows_has_no_empty_files(tmp_path):
    with make(tmp_path) as run:
        pass
    files = {p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if p.is_file()}
    assert files - {"env/git.diff", "run.lock"} == {
        "manifest.json", "env/packages.txt", "env/host.json", "events.jsonl", "stop.json",
    }  # fmt: skip
    assert all((run.path / name).stat().st_size for name in files - {"run.lock"})


def test_the_manifest_says_what_is_needed_to_understand_the_run(tmp_path):
    station = tmp_path / "my station.toml"
    station.write_bytes(b"schema = 1\r\n# caf\xc3\xa9\n")
    with make(
        tmp_path / "runs",
        config={"station.toml": station, "protocol.toml": b"schema = 1\n"},
        meta={"operator": "ada", "wiring_digest": "d1", "epochs": 3, "clock": "virtual"},
        seeds={"array": 7},
        limits=SafetyLimits(energy_joule=1e-9),
    ) as run:
        opened = open_run(run.path)
        assert opened.status == "crashed or running"
    m = opened.manifest
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", m["id"]
    )
    assert re.fullmatch(r"\d{8}T\d{6}Z_ltp-of-one-cell_[0-9a-f]{8}", run.path.name)
    assert (m["name"], m["kind"], m["backend"], m["simulated"]) == (
        "ltp of one cell", "run", "sim", True,
    )  # fmt: skip
    assert (m["operator"], m["wiring_digest"], m["meta"]) == ("ada", "d1", {"epochs": 3})
    assert m["clock"] == "virtual"
    assert m["seeds"] == {"array": 7}
    assert m["limits"]["energy_joule"] == 1e-9
    assert m["limits"]["slew_v_per_s"] == "inf"
    assert m["software"]["numpy"] == np.__version__
    assert m["phases"]["UPDATE"] == Phase.UPDATE
    assert m["status_bits"]["SIMULATED"] == 1 << 10
    copied = (run.path / "config" / "station.toml").read_bytes()
    assert copied == station.read_bytes()
    assert m["config"]["station.toml"]["sha256"] == hashlib.sha256(copied).hexdigest()
    assert "numpy==" in (run.path / "env" / "packages.txt").read_text()
    assert json.loads((run.path / "env" / "host.json").read_text())["cores"] == os.cpu_count()


def test_manifest_and_its_folder_are_on_the_disk_before_anything_can_be_driven(
    tmp_path, monkeypatch
):
    log: list[str] = []
    real_sync, real_folder, real_rename = durable.sync, durable.sync_folder, Path.rename

    def name_of(fd: int) -> str:
        return os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))

    monkeypatch.setattr(durable, "sync", lambda fd: (log.append(name_of(fd)), real_sync(fd))[1])
    monkeypatch.setattr(
        durable, "sync_folder", lambda p: (log.append(f"folder {p.name}"), real_folder(p))[1]
    )
    monkeypatch.setattr(
        Path, "rename", lambda p, q: (log.append(f"rename {q.name}"), real_rename(p, q))[1]
    )
    if not Path("/proc/self/fd").exists():
        pytest.skip("the system does not name open files")
    run = make(tmp_path, config={"protocol.toml": b"x"})
    assert log.index("protocol.toml.tmp") < log.index("manifest.json.tmp")
    after = log[log.index("manifest.json.tmp") :]
    assert after[:4] == [
        "manifest.json.tmp", "rename manifest.json", f"folder {run.path.name}",
        f"folder {tmp_path.name}",
    ]  # fmt: skip
    assert not any("arrows" in entry for entry in log)
    run.operation(0, Phase.READ)
    run.barrier()
    assert log.index("manifest.json.tmp") < log.index("000000.arrows")
    run.close()
    assert log[-3:] == ["stop.json.tmp", "rename stop.json", f"folder {run.path.name}"]


def test_events_are_lines_of_strict_json_with_time(tmp_path):
    with make(tmp_path) as run:
        run.event(
            "pause", reason="ümlaut", level=float("nan"), cells=np.arange(3), phase=Phase.READ
        )
    events = open_run(run.path).events
    assert [e["kind"] for e in events] == ["start", "pause", "stop"]
    assert events[1]["reason"] == "ümlaut"
    assert events[1]["level"] == "nan"
    assert events[1]["cells"] == [0, 1, 2]
    assert events[1]["phase"] == "READ"
    assert events[0]["t_ns"] <= events[1]["t_ns"] <= events[2]["t_ns"]
    assert events[0]["utc"].endswith("+00:00")


def test_the_stop_record_has_rows_and_sha256_of_every_part(tmp_path, rng):
    with make(tmp_path) as run:
        run.readings(0, 0, read_block(), measured(rng))
        run.operation(0, Phase.READ)
        run.checkpoint("epoch-1", g_siemens=np.ones((2, 2)))
    opened = open_run(run.path)
    assert opened.status == "done"
    assert opened.stop["rows"] == {"reads": 15, "ops": 1}
    assert opened.stop["rows_acknowledged"] == 16
    for name, part in opened.stop["parts"].items():
        content = (run.path / name).read_bytes()
        assert part["sha256"] == hashlib.sha256(content).hexdigest()
        assert part["bytes"] == len(content)
    assert set(opened.stop["parts"]) == {
        "reads/000000.arrows", "ops/000000.arrows", "checkpoints/epoch-1.npz", "events.jsonl",
    }  # fmt: skip
    assert opened.verify() == ()


def test_a_checkpoint_is_never_ahead_of_the_rows_and_never_overwritten(tmp_path):
    with make(tmp_path) as run:
        ticket = run.operation(0, Phase.READ)
        path = run.checkpoint("a", w=np.eye(2))
        assert run.acked >= ticket
        with np.load(path) as stored:
            np.testing.assert_array_equal(stored["w"], np.eye(2))
        with pytest.raises(StoreError, match=r"checkpoints/a\.npz: File exists"):
            run.checkpoint("a", w=np.zeros(2))
        with pytest.raises(ConfigError, match="plain file name"):
            run.checkpoint("../a", w=np.zeros(2))
        assert sorted(p.name for p in path.parent.iterdir()) == ["a.npz"]


def test_an_exception_closes_the_run_as_failed_with_its_text(tmp_path):
    run = make(tmp_path)
    run.operation(0, Phase.READ)
    with pytest.raises(ValueError, match="seven"), run:
        raise ValueError("seven is not enough")
    opened = open_run(run.path)
    assert opened.status == "failed"
    assert opened.stop["error"] == "ValueError: seven is not enough"
    assert [e["kind"] for e in opened.events] == ["start", "fault", "stop"]
    assert opened.ops.num_rows == 1


@pytest.mark.parametrize("error", [RunInterrupted, KeyboardInterrupt])
def test_a_requested_stop_closes_the_run_as_interrupted(tmp_path, error):
    with pytest.raises(error), make(tmp_path) as run:
        raise error
    opened = open_run(run.path)
    assert opened.status == "interrupted"
    assert opened.stop["error"] is None


def test_closing_twice_keeps_the_first_status(tmp_path):
    with make(tmp_path) as run:
        run.close("interrupted")
    assert open_run(run.path).status == "interrupted"


def test_config_names_may_not_leave_the_folder(tmp_path):
    with pytest.raises(ConfigError, match="plain file name"):
        make(tmp_path / "runs", config={"../evil.toml": b""})
    assert not (tmp_path / "runs").exists()


def test_a_config_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read"):
        make(tmp_path / "runs", config={"station.toml": tmp_path / "gone.toml"})
    with pytest.raises(ConfigError, match=r"clock: no clock 'sundial'"):
        make(tmp_path / "runs", meta={"clock": "sundial"})
    with pytest.raises(ConfigError, match="kind: no kind of run 'walk'"):
        make(tmp_path / "runs", kind="walk")
    with pytest.raises(ConfigError, match="no JSON form for object"):
        make(tmp_path / "runs", meta={"x": object()})
    assert not (tmp_path / "runs").exists()


def test_a_value_that_does_not_fit_does_not_hold_up_later_rows(tmp_path):
    policy = CommitPolicy(queue_age_s=0.05, stall_s=0.3)
    with make(tmp_path, policy=policy) as run:
        with pytest.raises((ValueError, TypeError)):
            run.operation(0, Phase.READ, duration_s="long")
        time.sleep(0.2)
        run.operation(1, Phase.READ)
        run.barrier()
    assert open_run(run.path).ops["op"].to_pylist() == [1]


def test_closing_a_run_leaves_the_files_of_others_alone(tmp_path, monkeypatch):
    """The system gives the number of a closed file to the next one that anyone opens."""
    run, others = make(tmp_path), []
    write_stop = run._write_stop

    def while_another_thread_opens_files(*given):
        others.extend((tmp_path / f"other{n}").open("wb", buffering=0) for n in range(8))
        write_stop(*given)

    monkeypatch.setattr(run, "_write_stop", while_another_thread_opens_files)
    run.close()
    assert len(others) == 8
    for other in others:
        other.write(b"still mine")
        other.close()


def test_an_event_after_the_end_is_refused_and_goes_into_no_other_file(tmp_path):
    run = make(tmp_path)
    run.close()
    others = [(tmp_path / f"other{n}").open("wb", buffering=0) for n in range(8)]
    before = (run.path / "events.jsonl").read_bytes()
    with pytest.raises(StoreError, match="the run is closed"):
        run.event("note", text="too late")
    for other in others:
        other.close()
        assert Path(other.name).read_bytes() == b""
    assert (run.path / "events.jsonl").read_bytes() == before
