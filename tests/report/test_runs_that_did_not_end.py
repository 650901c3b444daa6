from __future__ import annotations

import json
import shutil

import pytest
from made_runs import crash, empty_run
from reading import Page

from hil.errors import StoreError
from hil.report.gather import gather
from hil.report.write import write_report


def banner_of(run):
    return Page(write_report(run).page).text


def test_a_crashed_run_has_a_report_that_says_so(library, tmp_path):
    run = crash(library.copy("ltp", tmp_path))
    written = write_report(run)
    assert "This run crashed: it has no stop record" in Page(written.page).text
    assert set(written.figures) == {"ltp-ltd", "maps-main", "exposure-main"}


def test_a_crashed_run_without_cycles_shows_single_devices(library, tmp_path):
    written = write_report(crash(library.copy("disturb", tmp_path)))
    assert "history" in written.figures
    assert "disturb" in written.missing
    content = gather(written.page.parent)
    assert content.history.device.tolist() == [[0, 2, 1]]  # the one that was written
    assert content.history.pulse[0].tolist() == [10, 20, 30, 40, 50]


def test_a_run_that_is_being_written_is_told_from_a_crashed_one(tmp_path):
    with empty_run(tmp_path) as folder:
        assert "This run is still being written" in banner_of(folder.path)


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_a_run_that_stopped_early_says_why(tmp_path, status):
    folder = empty_run(tmp_path)
    folder.event("fault", error="lost the link")
    folder.close(status)
    text = banner_of(folder.path)
    assert f"This run did not reach its end: {status}: lost the link" in text
    assert "fault lost the link" in text


def test_a_run_that_recorded_nothing_has_a_report(tmp_path):
    with empty_run(tmp_path) as folder:
        pass
    written = write_report(folder.path, pdf=True)
    assert written.figures == ()
    assert "Not in this run" in Page(written.page).text


def test_a_truncated_segment_shortens_the_curves_and_is_named(library, tmp_path):
    run = crash(library.copy("ltp", tmp_path))
    whole = gather(run).exposure[0].counts["selected, +"].sum()
    (segment,) = (
        (run / "pulses").glob("*.arrows")
        if list((run / "pulses").glob("*.arrows"))
        else (run / "pulses").glob("*.parquet")
    )
    content = segment.read_bytes()
    segment.write_bytes(content[: len(content) * 2 // 3])
    text = banner_of(run)
    assert f"Not readable: pulses/{segment.name}" in text
    received = gather(run).exposure
    assert not received or received[0].counts["selected, +"].sum() < whole


def test_a_flipped_byte_in_a_checkpoint_leaves_the_rest_of_the_report(library, tmp_path):
    run = library.copy("verify", tmp_path)
    file = run / "checkpoints" / "outcome.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    content = gather(run)
    assert any("outcome.npz" in line for line in content.problems)
    (maps,) = content.maps
    assert maps.target is None  # only the outcome had it
    assert maps.after is not None  # the ledger has it, too


@pytest.mark.parametrize("name", ["config", "env", "events.jsonl", "pulses", "reads", "ops"])
def test_a_missing_part_leaves_the_rest_of_the_report(library, tmp_path, name):
    run = library.copy("ltp", tmp_path)
    part = run / name
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    assert write_report(run).page.is_file()


@pytest.mark.parametrize("wrong", [None, [], {}, "text", 7, [1], {"a": 1}], ids=repr)
def test_a_field_of_the_manifest_that_is_something_else_is_no_failure(library, tmp_path, wrong):
    run = library.copy("ltp", tmp_path)
    whole = json.loads((run / "manifest.json").read_bytes())
    for name in ("name", "kind", "simulated", "instruments", "limits", "config", "software", "git",
                 "levels", "seeds", "meta", "utc_epoch", "phases", "status_bits"):  # fmt: skip
        (run / "manifest.json").write_text(json.dumps({**whole, name: wrong}))
        gather(run)


def test_events_that_hold_something_else_are_no_failure(library, tmp_path):
    run = library.copy("train", tmp_path)
    with (run / "events.jsonl").open("a") as file:
        for line in (
            '{"kind": "epoch"}',
            '{"kind": "epoch", "epoch": "nan"}',
            "[1, 2]",
            "{",
            '{"kind": "float", "test_accuracy": 3}',
            '{"kind": ["x"]}',
            '{"kind": "result", "outcome": 7}',
            '{"kind": "limit", "t_ns": null}',
        ):
            file.write(line + "\n")
    content = gather(run)
    assert content.learning[0].epoch.tolist() == [1, 2]
    assert sum("events.jsonl" in line for line in content.problems) == 2


def test_a_foreign_folder_and_a_newer_run_are_refused(library, tmp_path):
    with pytest.raises(StoreError, match="not a run folder"):
        write_report(tmp_path)
    run = library.copy("iv", tmp_path)
    manifest = json.loads((run / "manifest.json").read_bytes())
    (run / "manifest.json").write_text(json.dumps({**manifest, "format": 999}))
    with pytest.raises(StoreError, match="999 is newer"):
        write_report(run)
    assert not (run / "report.html").exists()


def test_a_manifest_names_no_file_outside_the_run(library, tmp_path):
    run = library.copy("iv", tmp_path)
    (tmp_path / "secret").write_text("not for the report")
    manifest = json.loads((run / "manifest.json").read_bytes())
    manifest["config"] = {"../../secret": {}, "../secret": {}, str(tmp_path / "secret"): {}}
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert "not for the report" not in write_report(run).page.read_text()
