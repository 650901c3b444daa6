"""Devices that do not go back: no pulse is sent again, and what is unknown is read first."""

from __future__ import annotations

import os

import numpy as np
import pytest
from lasting import Devices, LastingFactory, die_at, loading

from hil.control.chips import ChipAccount
from hil.control.resume import open_resumption
from hil.control.session import open_session
from hil.errors import EnduranceError
from hil.program import Phase
from hil.record import open_run

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the process ends itself by SIGKILL")

STATION = """
schema = 1
backend = "lasting"
chip = "W3/D5 <b>"
[[array]]
rows = 10
cols = 8
device = "nonlinear"
[limits]
pulses_per_device = {budget}
"""
LTP = 'schema = 1\nkind = "ltp-ltd"\ncells = [[1, 2], [3, 4]]\ncycles = 1\npulses = 6\n'
#: Blocks of LTP, as driven: a read, then pulse and read in turn.
READ, WRITE = 6, 7
TRAINING = """
schema = 1
name = "t"
seed = 2
[dataset]
kind = "npz"
file = "data.npz"
[network]
hidden = [4]
bias = false
init_spread = 0.2
[rule]
method = "M3c"
[refresh]
every = 20
exchange_every = 5
[schedule]
epochs = 12
eta = 0.3
[characterise]
devices = 2
pulses = 40
[checkpoint]
every = 5
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A folder with a station of lasting devices; returns how to reach them."""
    (tmp_path / "station.toml").write_text(STATION.format(budget=100_000))
    (tmp_path / "p.toml").write_text(LTP)
    (tmp_path / "training.toml").write_text(TRAINING)
    rng = np.random.default_rng(3)
    y = np.arange(40) % 3
    x = np.clip(np.repeat(np.eye(3), 2, axis=1)[y] * 0.6 + 0.2 * rng.random((40, 6)), 0, 1)
    np.savez(tmp_path / "data.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])

    def again():
        devices = Devices(tmp_path / "devices.npz")
        monkeypatch.setattr("hil.registry.load", loading(LastingFactory(devices)))
        return devices

    return tmp_path, again


def account_of(folder, geometry, without=None):
    account = ChipAccount("W3/D5 <b>", False, folder / "runs", {"main": geometry})
    account.path.parent.mkdir(exist_ok=True)
    account.refresh()
    return account


@pytest.mark.parametrize(("block", "when", "missing"), [(WRITE, "after", 0), (WRITE, "before", 1),
                                                        (READ, "after", 0)])  # fmt: skip
def test_no_pulse_of_a_protocol_is_sent_twice(bench, block, when, missing):
    folder, again = bench
    run = die_at(folder, "p.toml", block, when)
    devices = again()
    with open_resumption(run) as resumption:
        report = resumption.protocol()
    first = devices.blocks[0]
    unknown = open_run(run).events
    if block == WRITE:
        assert first.phase is Phase.READ
        assert next(e["devices"] for e in unknown if e["kind"] == "readback") >= 1
        assert [e["block"] for e in unknown if e["kind"] == "skipped"] == [WRITE]
    else:
        # The pulse before it was not on the disk yet, so it may have run: it did.
        assert [e["block"] for e in unknown if e["kind"] == "skipped"] in ([], [READ - 1])
    received = devices.ledger.selected()
    expected = np.zeros(received.shape, int)
    expected[1, 2] = expected[3, 4] = 12
    short = expected - received
    assert (short >= 0).all()  # never more than the protocol says
    assert short.sum() in ((missing,) if block == READ or when == "after" else (1, 2))
    g = report.result.outcome["g_siemens"]
    assert np.isfinite(g).mean() > 0.9
    opened = open_run(run)
    assert opened.status == "done"
    assert opened.unknown_devices() == {}
    assert opened.verify() == ()
    account = account_of(folder, devices.ledger.geometry)
    counted = account.ledger("main").selected()
    assert (counted >= received).all()  # what may have run counts
    assert (counted <= expected).all()


def test_a_training_goes_on_with_the_devices_as_they_are(bench):
    folder, again = bench
    run = die_at(folder, "training.toml", 700, "after")
    assert open_run(run).unknown_devices()
    died = [e for e in open_run(run).events if e["kind"] == "exchange"]
    assert died
    devices = again()
    with open_resumption(run) as resumption:
        lines = resumption.described()
        report = resumption.train()
    assert any("read back first" in line for line in lines)
    assert devices.blocks[0].phase is Phase.READ
    opened = open_run(run)
    assert opened.status == "done"
    exchanges = [e for e in opened.events if e["kind"] == "exchange"]
    turned = [set(), set()]
    for event in exchanges:
        turned[event["layer"]] ^= set(event["outputs"])
    (finished,) = (e for e in opened.events if e["kind"] == "finished")
    assert finished["exchanged"] == [sorted(outputs) for outputs in turned]
    assert len(exchanges) > len(died) > 3
    assert report.result.history.test_accuracy >= 0.8
    notes = account_of(folder, devices.ledger.geometry).notes
    assert notes == []  # it is done, with its ledger


def test_a_chip_counts_every_run_once_whatever_became_of_it(bench):
    folder, again = bench

    def whole():
        devices = again()
        with open_session(folder / "station.toml", out=folder / "runs") as session:
            session.run_protocol(folder / "p.toml")
        return devices

    whole()
    crashed = die_at(folder, "p.toml", READ, "before")
    devices = whole()
    account = account_of(folder, devices.ledger.geometry)
    received = devices.ledger.selected()
    lost = received - account.ledger("main").selected()  # the pulse that was not on the disk yet
    assert lost.max() <= 1
    assert lost.min() == 0
    assert any("counted from its rows" in note for note in account.notes)
    devices = again()
    with open_resumption(crashed) as resumption:
        life = resumption.session.backends["main"].ledger.carried
        assert life[1, 2] == 24  # the two others: its own come with it
        resumption.protocol()
    received = devices.ledger.selected()
    assert received[1, 2] == 36
    for _ in range(2):
        account = account_of(folder, devices.ledger.geometry)
        assert (account.ledger("main").selected() == received).all()
    account.path.unlink()  # the runs' own files are the truth
    account = account_of(folder, devices.ledger.geometry)
    assert (account.ledger("main").selected() == received).all()
    assert account.ledger("main").half_selected().max() > 0
    assert 26 < account.ledger("main").reads()[1, 2] <= devices.ledger.reads()[1, 2]


def test_a_run_that_a_chip_would_not_survive_is_refused(bench):
    folder, again = bench
    (folder / "station.toml").write_text(STATION.format(budget=30))
    for _ in range(2):
        again()
        with open_session(folder / "station.toml", out=folder / "runs") as session:
            session.run_protocol(folder / "p.toml")
    devices = again()
    runs = len(list((folder / "runs").glob("*/manifest.json")))
    with (
        open_session(folder / "station.toml", out=folder / "runs") as session,
        pytest.raises(EnduranceError, match=r"cell \([13], [24]\).* 3\d .*limit 30 pulses .*24 of"),
    ):
        session.run_protocol(folder / "p.toml")
    assert len(list((folder / "runs").glob("*/manifest.json"))) == runs
    assert devices.blocks == []


def test_an_adaptive_run_that_uses_a_device_up_ends_cleanly(bench):
    folder, again = bench
    (folder / "station.toml").write_text(STATION.format(budget=15))
    (folder / "w.toml").write_text(
        'schema = 1\nkind = "write-verify"\ncells = [[1, 2]]\ntolerance_relative = 1e-6\n'
        "max_pulses = 500\ntargets = { relative = [0.8] }\n"
    )
    again()
    with open_session(folder / "station.toml", out=folder / "runs") as session:
        first = session.run_protocol(folder / "p.toml").run
    devices = again()
    with (
        open_session(folder / "station.toml", out=folder / "runs") as session,
        pytest.raises(EnduranceError, match=r"cell \(1, 2\).*limit 15 pulses .12 of them in"),
    ):
        session.run_protocol(folder / "w.toml")
    (run,) = (open_run(p.parent) for p in (folder / "runs").glob("*/manifest.json")
              if p.parent != first)  # fmt: skip
    assert run.status == "endurance"
    assert 12 < devices.ledger.selected()[1, 2] <= 15
    (limit,) = (e for e in run.events if e["kind"] == "limit")
    assert "15 pulses" in limit["error"]
    (ledger,) = (c for c in run.checkpoints if c.name == "ledger")
    assert ledger.load()["selected_plus"].sum() == devices.ledger.selected()[1, 2] - 12
    assert run.verify() == ()


def test_a_training_does_not_begin_where_a_device_has_no_pulse_left(bench):
    folder, again = bench
    (folder / "station.toml").write_text(STATION.format(budget=12))
    again()
    with open_session(folder / "station.toml", out=folder / "runs") as session:
        session.run_protocol(folder / "p.toml")
    devices = again()
    with (
        open_session(folder / "station.toml", out=folder / "runs") as session,
        pytest.raises(EnduranceError, match=r"cell \(1, 2\).* 12 .*limit 12 pulses"),
    ):
        session.train(folder / "training.toml")
    assert devices.blocks == []
    assert len(list((folder / "runs").glob("*/manifest.json"))) == 1
