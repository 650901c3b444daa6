"""Protocols on the simulator that are stopped anywhere and resumed."""

from __future__ import annotations

import numpy as np
import pytest

from hil.control import running
from hil.control.checkpointing import ProtocolCheckpoints
from hil.control.resume import open_resumption
from hil.control.session import open_session
from hil.errors import ConfigError, RunInterrupted
from hil.record import open_run

STATION = 'schema = 1\n[[array]]\nrows = 6\ncols = 5\ndevice = "nonlinear"\n'
LTP = 'schema = 1\nkind = "ltp-ltd"\ncells = [[1, 2], [3, 4], [5, 0]]\ncycles = 2\npulses = 9\n'
VERIFY = 'schema = 1\nkind = "write-verify"\ncells = [[0, 0], [1, 1], [2, 0], [5, 4]]\n'


@pytest.fixture
def lab(tmp_path):
    (tmp_path / "station.toml").write_text(STATION)
    (tmp_path / "ltp.toml").write_text(LTP)
    (tmp_path / "verify.toml").write_text(VERIFY)
    return tmp_path


def begun(folder, out="runs"):
    return open_session(folder / "station.toml", sim=True, out=folder / out)


def stopping_after(session, n):
    """Return a progress callback that asks for a stop after ``n`` blocks."""
    seen = 0

    def progress(block):
        nonlocal seen
        seen += 1
        if seen == n:
            session.backends["main"].request_stop()

    return progress


def interrupted(folder, protocol, n, before=()):
    with begun(folder) as session:
        for name in before:
            session.run_protocol(folder / name)
        with pytest.raises(RunInterrupted):
            session.run_protocol(folder / protocol, progress=stopping_after(session, n))
    runs = [p.parent for p in (folder / "runs").glob("*/manifest.json")]
    (run,) = (r for r in runs if open_run(r).status == "interrupted")
    return run


def compared(one, two, rtol, what):
    if one.dtype.kind == "f":
        np.testing.assert_allclose(two, one, rtol=rtol, err_msg=what)
    else:
        np.testing.assert_array_equal(two, one, err_msg=what)


def same(a, b, rtol=0.0):
    """Assert that two runs have the same outcome and the same ledger."""
    for name in ("outcome", "ledger"):
        with (
            np.load(a / "checkpoints" / f"{name}.npz") as one,
            np.load(b / "checkpoints" / f"{name}.npz") as two,
        ):
            assert one.files == two.files
            for key in one.files:
                compared(one[key], two[key], rtol, f"{name} {key}")


@pytest.mark.parametrize("every_s", [0.0, 1e9], ids=["checkpoints", "none"])
@pytest.mark.parametrize("n", [1, 24])
def test_a_static_protocol_ends_with_the_outcome_of_one_never_stopped(lab, n, every_s, monkeypatch):
    monkeypatch.setattr(
        running, "ProtocolCheckpoints",
        lambda files, done=0: ProtocolCheckpoints(files, done, every_s),
    )  # fmt: skip
    monkeypatch.setattr("hil.control.checkpointing.SHARE", 0)
    with begun(lab, "whole") as session:
        whole = session.run_protocol(lab / "ltp.toml")
    run = interrupted(lab, "ltp.toml", n)
    with open_resumption(run) as resumption:
        report = resumption.protocol()
    same(whole.run, run)
    opened = open_run(run)
    assert opened.status == "done"
    assert opened.verify() == ()
    assert report.result.n_blocks == whole.result.n_blocks
    assert report.result.n_device_pulses == whole.result.n_device_pulses
    assert report.result.n_readings == whole.result.n_readings
    (resumed,) = (e for e in opened.events if e["kind"] == "resumed")
    assert resumed["block"] == (n if every_s == 0.0 else 0)
    ops = opened.ops.to_pydict()["op"]
    assert max(ops) == 2  # operations are numbered on
    assert min(ops) == (1 if every_s == 0.0 else 2)
    for table in ("ops", "pulses", "reads"):
        again = open_run(whole.run)
        assert getattr(opened, table).num_rows == getattr(again, table).num_rows, table


@pytest.mark.parametrize("n", [1, 3])
def test_an_adaptive_protocol_begins_again(lab, n):
    with begun(lab, "whole") as session:
        whole = session.run_protocol(lab / "verify.toml")
    run = interrupted(lab, "verify.toml", n)
    with open_resumption(run) as resumption:
        resumption.protocol()
    same(whole.run, run)


def test_devices_that_were_used_before_the_run_are_put_back_to_its_beginning(lab):
    with begun(lab, "whole") as session:
        session.run_protocol(lab / "ltp.toml")
        whole = session.run_protocol(lab / "ltp.toml")
    run = interrupted(lab, "ltp.toml", 11, before=["ltp.toml"])
    with open_resumption(run) as resumption:
        resumption.protocol()
    same(whole.run, run, rtol=1e-12)  # sums since the run's start, not since the devices were new
    with np.load(run / "checkpoints" / "ledger.npz") as ledger:
        assert ledger["selected_plus"].max() == 18  # of this run alone


def test_a_run_can_be_stopped_and_resumed_again_and_again(lab):
    with begun(lab, "whole") as session:
        whole = session.run_protocol(lab / "ltp.toml")
    run = interrupted(lab, "ltp.toml", 5)
    for n in (7, 4):
        with open_resumption(run) as resumption, pytest.raises(RunInterrupted):
            resumption.protocol(stopping_after(resumption.session, n))
        assert open_run(run).status == "interrupted"
    with open_resumption(run) as resumption:
        resumption.protocol()
    same(whole.run, run)


def test_a_protocol_whose_readings_were_not_recorded_is_refused(lab):
    with begun(lab) as session, pytest.raises(RunInterrupted):
        session.run_protocol(
            lab / "ltp.toml", level="operation", progress=stopping_after(session, 9)
        )
    run = next((lab / "runs").glob("*/manifest.json")).parent
    with (
        open_resumption(run) as resumption,
        pytest.raises(ConfigError, match="recorded at level 'operation'"),
    ):
        resumption.protocol()
    assert open_run(run).status == "interrupted"
    assert (run / "stop.json").exists()
