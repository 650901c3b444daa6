"""Sealing: the same rows as Parquet, and never a moment in which they are in no file."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recording import LIVE, make, measured, read_block

from hil.errors import LockedError, StoreError
from hil.program import Phase
from hil.record import CommitPolicy, durable, open_run
from hil.record.parts import TableReader
from hil.record.sealing import seal, seal_run


def fill(run, rng, n: int, rows: int = 300) -> None:
    """Append readings, operations and pulses with nulls, NaN and every type."""
    for op in range(n):
        run.readings(op, 0, read_block(), measured(rng, rows))
        run.operation(op, Phase.READ, n_readings=rows)
        run.pulses(
            {"op": op, "phase": Phase.UPDATE, "row": rng.integers(0, 9, rows), "col": 3,
             "v": 1.5, "width": 1e-6, "count": 1, "i_read": rng.normal(size=rows),
             "g0": np.where(rng.random(rows) < 0.3, np.nan, 1e-6), "g1": 2e-6,
             "executed": np.ma.masked_array(np.ones(rows, int), rng.random(rows) < 0.2)}
        )  # fmt: skip
        run.barrier()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A closed run with several live segments per table."""
    policy = replace(LIVE, segment_bytes=20_000)
    with make(tmp_path_factory.mktemp("live"), policy=policy) as run:
        fill(run, np.random.default_rng(3), 12)
    return run.path


@pytest.fixture
def live(recorded, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(recorded, tmp_path / recorded.name))


def tables(path):
    opened = open_run(path)
    found = {name: getattr(opened, name).combine_chunks() for name in ("reads", "pulses", "ops")}
    assert opened.problems == ()
    return found


def same(one, other) -> bool:
    """Whether tables are equal bit by bit, NaN included."""
    for name, table in one.items():
        if table.schema != other[name].schema or table.num_rows != other[name].num_rows:
            return False
        for a, b in zip(table.columns, other[name].columns, strict=True):
            if a.null_count != b.null_count or not a.is_null().equals(b.is_null()):
                return False
            left, right = (x.drop_null().to_numpy() for x in (a, b))
            if left.tobytes() != right.tobytes():
                return False
    return True


def test_a_sealed_run_has_the_same_rows_units_and_checksums(live):
    before = tables(live)
    live_bytes = sum(p.stat().st_size for p in live.rglob("0*.arrows"))
    report = seal_run(live)
    assert report.kept == ()
    assert len(report.sealed) > 6
    assert not list(live.rglob("0*.arrows"))
    sealed_bytes = sum(p.stat().st_size for p in live.rglob("0*.parquet"))
    assert sealed_bytes < live_bytes
    assert same(before, tables(live))
    assert open_run(live).verify() == ()
    assert open_run(live).pulses.schema.field("g0").metadata[b"unit"] == b"S"


def test_other_tools_read_a_sealed_part_with_its_units(live):
    pq = pytest.importorskip("pyarrow.parquet")
    pd = pytest.importorskip("pandas")
    whole = tables(live)["pulses"]
    seal_run(live)
    parts = sorted((live / "pulses").iterdir())
    frame = pd.concat([pd.read_parquet(part) for part in parts])
    np.testing.assert_array_equal(frame["i_read"], whole["i_read"].to_numpy())
    assert pq.read_schema(parts[0]).field("i_read").metadata[b"unit"] == b"A"


def test_a_run_that_is_done_seals_itself_when_that_is_quick(tmp_path, rng):
    with make(tmp_path, policy=CommitPolicy(seal_share=float("inf"))) as run:
        fill(run, rng, 5)
    files = {p.relative_to(run.path).as_posix() for p in run.path.glob("*/0*")}
    assert files == {"reads/000000.parquet", "ops/000000.parquet", "pulses/000000.parquet"}
    opened = open_run(run.path)
    assert set(opened.stop["parts"]) == files | {"events.jsonl"}
    assert opened.verify() == ()
    with make(tmp_path) as never:
        fill(never, rng, 5)
    assert all(p.suffix == ".arrows" for p in never.path.glob("*/0*"))


def test_a_run_that_did_not_end_well_is_not_held_up_by_sealing(tmp_path, rng):
    run = make(tmp_path, policy=CommitPolicy(seal_share=float("inf")))
    run.operation(0, Phase.READ)
    with pytest.raises(ZeroDivisionError), run:
        _ = 1 / 0
    assert [p.name for p in run.path.glob("ops/*")] == ["000000.arrows"]


def test_finished_segments_are_sealed_while_the_run_goes_on_and_readers_see_no_gap(tmp_path, rng):
    expected = 0
    with make(tmp_path, policy=CommitPolicy(segment_bytes=20_000, seal_share=0.0)) as run:
        for _ in range(8):
            fill(run, rng, 3)
            expected += 3
            opened = open_run(run.path)
            assert opened.problems == ()
            assert opened.ops.num_rows == expected
            assert opened.reads.num_rows == opened.pulses.num_rows == expected * 300
        sealed_while_running = list(run.path.glob("reads/*.parquet"))
    assert sealed_while_running
    assert open_run(run.path).verify() == ()


def test_a_reader_that_listed_a_segment_finds_it_sealed(live):
    reader = TableReader(live, "reads")
    first = sum(batch.rows.num_rows for batch in reader.part(0))
    seal_run(live)
    rest = sum(b.rows.num_rows for n in range(1, 50) for b in reader.part(n))
    assert first + rest == 12 * 300
    assert reader.problems == []


def test_a_damaged_or_unfinished_segment_is_never_sealed(live):
    before = tables(live)
    file = live / "reads" / "000001.arrows"
    good = file.read_bytes()
    for content in (
        good[:-200],
        good[:-8],
        good[:3000] + bytes([good[3000] ^ 1]) + good[3001:],
        good + b"more",
    ):
        file.write_bytes(content)
        with pytest.raises(StoreError, match=r"cannot seal .*000001\.arrows"):
            seal(live, "reads", 1)
        assert file.read_bytes() == content
        assert not (live / "reads" / "000001.parquet").exists()
        assert not list(live.rglob("*.tmp"))
    report = seal_run(live)
    assert len(report.kept) == 1
    file.write_bytes(good)
    assert seal_run(live).kept == ()
    assert same(before, tables(live))


@pytest.mark.parametrize(
    "broken", ["write", "sync", "other bytes", "other rows", "note"], ids=lambda name: f"bad {name}"
)
def test_a_failure_while_sealing_leaves_the_segment(live, monkeypatch, broken):
    before = tables(live)

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    real_write = durable.write_synced
    with monkeypatch.context() as patch:
        if broken == "write":
            patch.setattr(durable, "write_synced", fail)
        elif broken == "sync":
            patch.setattr(durable, "sync", fail)
        elif broken == "other bytes":
            patch.setattr(durable, "write_synced", lambda p, c: real_write(p, bytes(c)[:-1] + b"x"))
        elif broken == "other rows":
            patch.setattr("hil.record.sealing.equal_bits", lambda a, b: False)
        else:
            patch.setattr("hil.record.sealing.append_note", fail)
        report = seal_run(live)
    assert report.sealed == ()
    assert len(report.kept) > 6
    assert not list(live.rglob("*.parquet"))
    assert not list(live.rglob("*.tmp"))
    assert same(before, tables(live))


def test_a_crash_between_writing_and_deleting_is_made_good(live, monkeypatch):
    before = tables(live)
    with monkeypatch.context() as patch:

        def held(self, missing_ok=False):
            raise PermissionError(errno.EACCES, "a reader holds it")

        patch.setattr(Path, "unlink", held)
        seal(live, "reads", 0)
    both = {p.name for p in (live / "reads").glob("000000.*")}
    assert both == {"000000.arrows", "000000.parquet"}
    assert same(before, tables(live))
    assert open_run(live).verify() == ()
    seal_run(live)
    assert same(before, tables(live))
    assert not (live / "reads" / "000000.arrows").exists()


def test_no_flipped_byte_in_a_sealed_part_gives_a_wrong_value(live, rng):
    seal_run(live)
    whole = open_run(live).reads
    file = live / "reads" / "000001.parquet"
    good = file.read_bytes()
    note = next(
        json.loads(line)
        for line in (live / "seals.jsonl").read_text().splitlines()
        if "reads/000001" in line
    )
    lost = 0
    for offset in rng.integers(0, len(good), 60):
        content = bytearray(good)
        content[offset] ^= 1 << int(rng.integers(8))
        file.write_bytes(bytes(content))
        opened = open_run(live)
        rows = opened.reads
        lost += rows.num_rows == whole.num_rows - note["rows"]
        assert any("reads/000001.parquet" in line for line in opened.problems)
        assert any("000001.parquet: its sha256" in line for line in opened.verify())
        kept = whole.filter(_outside(whole, note["first"], note["rows"]))
        assert rows["current_a"].to_numpy().tobytes() == kept["current_a"].to_numpy().tobytes()
    assert lost == 60
    file.write_bytes(good)
    assert open_run(live).verify() == ()


def _outside(table, first: int, n: int):
    import pyarrow as pa

    at = np.arange(table.num_rows)
    return pa.array((at < first) | (at >= first + n))


def test_damage_costs_only_the_row_group_it_is_in(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("hil.record.sealed.GROUP_ROWS", 1000)
    with make(tmp_path) as run:
        fill(run, rng, 20)
    whole = open_run(run.path).reads["current_a"].to_numpy()
    seal_run(run.path)
    file = run.path / "reads" / "000000.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    rows = open_run(run.path).reads["current_a"].to_numpy()
    assert 1000 <= rows.size < whole.size
    assert rows.size % 1000 == 0
    assert rows.tobytes() == whole[: rows.size].tobytes()


def test_foreign_files_are_named_and_left_out(live):
    before = tables(live)
    reads = live / "reads"
    (reads / "copy.arrows").write_bytes((reads / "000000.arrows").read_bytes())
    (reads / "0000007.arrows").write_bytes(b"")
    (reads / "000900.parquet").write_bytes(b"PAR1")
    (reads / "notes.txt").write_text("mine")
    (reads / "000901.parquet.tmp").write_bytes(b"cut off")
    opened = open_run(live)
    assert opened.reads.num_rows == before["reads"].num_rows
    assert [line.split(":")[0] for line in opened.problems] == [
        "reads/0000007.arrows", "reads/copy.arrows", "reads/000900.parquet",
    ]  # fmt: skip
    assert all("foreign file" in line for line in opened.problems)


def test_a_sealed_part_of_another_segment_is_noticed(live):
    seal_run(live)
    lines = (live / "seals.jsonl").read_text().splitlines()
    note = json.loads(lines[0])
    note["of_sha256"] = "0" * 64
    (live / "seals.jsonl").write_text("\n".join([json.dumps(note), *lines[1:]]) + "\n")
    assert any("sealed from another" in line for line in open_run(live).verify())


def test_a_damaged_note_leaves_its_part_out_and_the_others_readable(live):
    seal_run(live)
    file = live / "seals.jsonl"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([lines[0], lines[1][:40], *lines[2:]]) + b"\n")
    opened = open_run(live)
    assert any("seals.jsonl:2: damaged line" in line for line in opened.problems)
    assert any("nothing notes that it was sealed" in line for line in opened.problems)
    assert opened.ops.num_rows == 12


def test_a_run_that_is_being_written_is_not_sealed_from_outside(tmp_path):
    with make(tmp_path, policy=LIVE) as run:
        run.operation(0, Phase.READ)
        run.barrier()
        with pytest.raises(LockedError, match=rf"run {run.path.name} is in use by process \d+"):
            seal_run(run.path)
    assert len(seal_run(run.path).sealed) == 1
    with pytest.raises(StoreError, match="not a run folder"):
        seal_run(tmp_path)
