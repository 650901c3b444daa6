"""Reading runs that are damaged, cut off, or not runs at all."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from recording import LIVE, make, measured, read_block

from hil.errors import BackendUnavailable, StoreError
from hil.program import Phase
from hil.record import open_run


@pytest.fixture
def recorded(tmp_path, rng):
    """A closed run of ten batches of 40 readings each, and the offsets where its batches end."""
    ends = []
    with make(tmp_path) as run:
        for ordinal in range(10):
            run.readings(0, ordinal, read_block(), measured(rng, 40))
            run.barrier()
            ends.append((run.path / "reads" / "000000.arrows").stat().st_size)
    return run.path, ends


def flip(file, offset: int, bit: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 1 << bit
    file.write_bytes(content)


def test_a_flipped_byte_is_reported_and_earlier_batches_stay_readable(recorded):
    path, ends = recorded
    whole = open_run(path).reads
    file = path / "reads" / "000000.arrows"
    flip(file, ends[6] - 40)
    opened = open_run(path)
    assert opened.reads.equals(whole.slice(0, 240))
    assert len(opened.problems) == 2
    assert f"reads/000000.arrows: stops at byte {ends[5]}, row 240" in opened.problems[0]
    assert opened.problems[1] == "reads: 240 rows readable, stop.json notes 400"
    assert any("sha256" in line for line in opened.verify())
    assert file.stat().st_size == ends[-1] + 8


def test_no_flipped_byte_ever_gives_a_wrong_value(recorded, rng):
    path, _ = recorded
    whole = open_run(path).reads
    file = path / "reads" / "000000.arrows"
    good = file.read_bytes()
    harmless = 0
    for offset in rng.integers(0, len(good), 250):
        flip(file, int(offset), int(rng.integers(8)))
        opened = open_run(path)
        rows = opened.reads.num_rows
        assert rows % 40 == 0
        assert opened.reads.equals(whole.slice(0, rows))
        if rows < whole.num_rows:
            assert opened.problems
        else:
            harmless += 1  # padding between the buffers
        assert any("sha256" in line for line in opened.verify())
        file.write_bytes(good)
    assert harmless < 200


def test_a_cut_off_tail_costs_only_the_batch_that_was_cut(recorded, rng):
    path, ends = recorded
    (path / "stop.json").unlink()
    file = path / "reads" / "000000.arrows"
    good = file.read_bytes()
    for length in sorted(rng.integers(ends[0], len(good), 60)):
        file.write_bytes(good[:length])
        opened = open_run(path)
        complete = sum(end <= length for end in ends)
        assert opened.reads.num_rows == 40 * complete
        assert bool(opened.problems) == (length not in (*ends, len(good)))
        assert opened.status == "crashed or running"


def test_zeros_at_the_end_are_reported(recorded):
    path, ends = recorded
    file = path / "reads" / "000000.arrows"
    file.write_bytes(file.read_bytes()[: ends[4]] + bytes(500))
    opened = open_run(path)
    assert opened.reads.num_rows == 200
    assert "bytes after the end" in opened.problems[0]


def test_segments_rotate_and_a_missing_one_is_reported(tmp_path, rng):
    with make(tmp_path, policy=replace(LIVE, segment_bytes=5000)) as run:
        for ordinal in range(12):
            run.readings(0, ordinal, read_block(), measured(rng, 40))
            run.barrier()
    files = sorted((run.path / "reads").iterdir())
    assert len(files) > 3
    assert [f.name for f in files] == [f"{i:06d}.arrows" for i in range(len(files))]
    opened = open_run(run.path)
    assert opened.problems == ()
    np.testing.assert_array_equal(opened.reads["block"].to_numpy(), np.repeat(np.arange(12), 40))
    files[1].unlink()
    opened = open_run(run.path)
    assert "are missing before it" in opened.problems[0]
    assert set(opened.reads["block"].to_pylist()) < set(range(12))


def test_damage_in_one_segment_leaves_the_others_readable(tmp_path, rng):
    with make(tmp_path, policy=replace(LIVE, segment_age_s=0.0)) as run:
        for ordinal in range(3):
            run.readings(0, ordinal, read_block(), measured(rng, 40))
            run.barrier()
    first = run.path / "reads" / "000000.arrows"
    flip(first, first.stat().st_size - 60)
    opened = open_run(run.path)
    assert set(opened.reads["block"].to_pylist()) == {1, 2}
    assert len(opened.problems) == 3


def test_any_tool_that_knows_arrow_reads_a_segment(recorded):
    import pyarrow as pa

    path, _ = recorded
    with pa.OSFile(str(path / "reads" / "000000.arrows")) as source:
        table = pa.ipc.open_stream(source).read_all()
    assert table.equals(open_run(path).reads)


def test_a_damaged_event_line_is_reported_and_the_others_are_read(recorded):
    path, _ = recorded
    with (path / "events.jsonl").open("ab") as file:
        file.write(b'{"t_ns": 5, "kin')
    opened = open_run(path)
    assert [e["kind"] for e in opened.events] == ["start", "stop"]
    assert any(line.startswith("events.jsonl:3: damaged line") for line in opened.problems)


def test_a_running_run_is_readable(tmp_path, rng):
    with make(tmp_path) as run:
        run.readings(0, 0, read_block(), measured(rng))
        run.barrier()
        opened = open_run(run.path)
        assert opened.status == "crashed or running"
        assert opened.reads.num_rows == 15
        assert opened.problems == ()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no such folder"):
        open_run(tmp_path / "nothing")
    with pytest.raises(StoreError, match=r"not a run folder, it has no manifest\.json"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"format": 1', "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[1]", "no format version"),
        (b'{"name": "x"}', "no format version"),
        (b'{"format": 2}', "format 2 is newer than 1"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named(tmp_path, content, says):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(StoreError, match=says) as caught:
        open_run(tmp_path)
    assert "manifest.json" in str(caught.value)


def test_a_changed_configuration_is_found_by_verify(tmp_path):
    with make(tmp_path, config={"station.toml": b"v = 1\n"}) as run:
        run.operation(0, Phase.READ)
    assert open_run(run.path).verify() == ()
    (run.path / "config" / "station.toml").write_bytes(b"v = 2\n")
    assert open_run(run.path).verify() == ("config/station.toml: its sha256 is not the one noted",)


def test_a_damaged_stop_record_is_a_problem_not_a_crash(recorded):
    path, _ = recorded
    (path / "stop.json").write_bytes(b"{")
    opened = open_run(path)
    assert opened.status == "crashed or running"
    assert opened.problems[0].startswith("stop.json: cannot be read")


def test_missing_pandas_is_said_clearly(recorded, monkeypatch):
    path, _ = recorded
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BackendUnavailable, match=r"pandas: pip install"):
        open_run(path).to_pandas("reads")


def test_the_stop_record_is_strict_json(recorded):
    path, _ = recorded

    def refuse(text):
        raise AssertionError(text)

    for name in ("manifest.json", "stop.json", "env/host.json"):
        json.loads((path / name).read_text(encoding="utf-8"), parse_constant=refuse)
