"""What the wire log shows: sources off before relays move, one source a line, order after faults.

And a recorded log answers in place of the instruments.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from benches import STATIONS, station_a, station_of
from faulty import Lab, at, put
from hil_drivers.factory import RigFactory
from hil_drivers.transport.wirelog import load_wire_log

from hil.config.station import wires
from hil.control.array import SynapseArray, load_protocol
from hil.control.session import open_session
from hil.errors import InstrumentError, LinkError

pytest.importorskip("lupa")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    return Lab(tmp_path, monkeypatch)


class Auditor:
    """Follows a wire log: which sources may be on, which relays are closed, what moved when."""

    BEGIN = re.compile(r"hil_run\(\d|hil_follow\(\d|hil_spot\(\d|:OUTP\d ON")
    MOVE = re.compile(
        r'channel\.(open|close)\("([^"]+)"\)|:(OPEN|CLOS)(?::CARD ALL| \(@([\d,]+)\))'
    )

    def __init__(self, station):
        self.ways = wires(station, station.array[0].name)
        self.hot, self.closed, self.moves, self.runs = set(), set(), 0, 0

    def follow(self, line):
        name, sent, reply = line["instrument"], line.get("sent", ""), line.get("reply", "")
        for match in self.MOVE.finditer(sent):
            assert not self.hot, f"{sent!r} while {self.hot} may drive"
            verb = (match[1] or match[3]).lower()
            self.move(verb == "open", match[2] or match[4] or "allslots")
        if self.BEGIN.search(sent) and not sent.startswith("loadandrunscript"):
            self.runs += 1
            self.hot.add(name)
        if name in self.hot and self.says_off(sent, reply):
            self.hot.discard(name)

    @staticmethod
    def says_off(sent, reply):
        """Whether an answer is the instrument's word that its outputs are off."""
        if reply.startswith("hil\t"):
            return float(reply.split("\t")[2]) == 0.0
        if "source.output" in sent or re.fullmatch(r":OUTP\d\?(;:OUTP\d\?)*", sent):
            return {float(v) for v in re.split(r"[\t;]", reply)} == {0.0}
        return False

    def move(self, opened, points):
        if points == "allslots":
            self.closed.clear()
            return
        self.moves += len(points.split(","))
        for point in points.split(","):
            (self.closed.discard if opened else self.closed.add)(point)
        joined = {}
        for way in self.ways:
            if way.crosspoint is None or way.crosspoint in self.closed:
                joined.setdefault(way.line, set()).add(way.channel)
        assert all(len(channels) == 1 for channels in joined.values()), joined


@pytest.mark.parametrize("kind", sorted(STATIONS))
@pytest.mark.parametrize("protocol", ["ltp-ltd", "read-map", "forward"])
def test_sources_are_off_before_relays_move_and_no_line_has_two(lab, kind, protocol):
    text = STATIONS[kind](rows=3, cols=3, device="ideal")
    lab.protocol.write_text(
        'schema = 1\nkind = "ltp-ltd"\ncells = [[1, 2], [2, 0]]\ncycles = 1\npulses = 3\n'
    )
    found = lab.run(text, protocol=lab.protocol if protocol == "ltp-ltd" else protocol)
    assert found.error is None, found.text
    auditor = Auditor(station_of(text))
    for line in found.wire:
        auditor.follow(line)
    assert auditor.runs
    assert (auditor.moves > 0) == (kind != "c")
    assert not auditor.hot
    assert not auditor.closed
    assert found.bench.incidents == []


def test_the_auditor_sees_a_relay_that_moves_under_a_source_that_is_on(lab):
    found = lab.run(station_a(device="ideal"))
    auditor = Auditor(station_of(station_a(device="ideal")))
    unanswered = [line for line in found.wire if not line.get("reply", "").startswith("hil\t")]
    with pytest.raises(AssertionError, match="may drive"):
        list(map(auditor.follow, unanswered))


@pytest.mark.parametrize(
    ("fault", "error"),
    [(put(cut_after=0), LinkError), (put(queue_error=(802, "blocked")), InstrumentError)],
    ids=["a link that is cut", "an entry in the error queue"],
)
def test_after_a_fault_the_device_is_cleared_switched_off_read_back_and_asked(lab, fault, error):
    found = lab.run(station_a(device="ideal"), at("smu", b"hil_run(", 2, fault))
    assert type(found.error) is error
    wire = found.wire
    begun = next(k for k, line in enumerate(wire) if "hil_run(2)" in line.get("sent", ""))
    after = wire[begun + 1 :]
    smu = [line for line in after if line["instrument"] == "smu"]

    def first(lines, test):
        return next(line["n"] for line in lines if test(line))

    cleared = first(smu, lambda line: line["op"] == "clear")
    off = first(smu, lambda line: "source.output=0" in line.get("sent", ""))
    read_back = first(smu, lambda line: line.get("sent", "").startswith("print(smua.source.output"))
    opened = first(after, lambda line: 'channel.open("allslots")' in line.get("sent", ""))
    reset = first(smu, lambda line: line.get("sent") == "*ESR?")
    assert cleared < off < read_back < opened < reset
    if error is LinkError:  # the run did not answer: what it left is asked for, then recorded
        left = first(smu, lambda line: line.get("sent", "").startswith("print(hil_ran"))
        assert reset < left
    # From the fault on nothing is driven again.
    assert not any("hil_run" in line.get("sent", "") for line in after)


def test_an_instrument_that_had_a_fault_is_set_up_anew_before_it_drives_again(lab):
    """The same session goes on after the fault: identity and settings come first."""
    text = station_a(device="ideal")
    with open_session(
        station_of(text), virtual=True, wire_log=True, out=lab.path / "two", seed=3
    ) as session:
        at("smu", b"hil_run(", 2, put(queue_error=(802, "blocked")))(lab.bench)
        with pytest.raises(InstrumentError):
            session.run_protocol(lab.protocol)
        second = session.run_protocol("read-map").run
    lines = load_wire_log(second / "wire.jsonl")["smu"]
    sent = [line.sent for line in lines]
    assert sent.index("*IDN?") < sent.index("*ESR?")
    assert sent[sent.index("*IDN?") + 1].startswith("reset()")
    assert any("hil_run(" in text for text in sent[sent.index("*ESR?") :])


@pytest.mark.parametrize("kind", sorted(STATIONS))
def test_a_recorded_wire_log_replays_a_whole_rig_with_the_same_readings(lab, kind):
    text = STATIONS[kind](rows=3, cols=3, device="ideal")
    lab.protocol.write_text(
        'schema = 1\nkind = "ltp-ltd"\ncells = [[1, 2], [2, 0]]\ncycles = 1\npulses = 3\n'
    )
    recorded = lab.run(text)
    assert recorded.error is None
    station = station_of(text)
    log = recorded.run.path / "wire.jsonl"
    rig = RigFactory().create(station, station.array[0], seed=3, replay=log, virtual=True)
    read = []
    execute = rig._execute
    rig._execute = lambda block: (read.append(execute(block)), read[-1])[1]
    with rig:
        result = SynapseArray(rig, station.drive.operating_point()).run(load_protocol(lab.protocol))
    found = np.concatenate([m.current_a for m in read])
    np.testing.assert_array_equal(found, recorded.run.reads["current_a"].to_numpy())
    for name, value in recorded.outcome.items():
        np.testing.assert_array_equal(result.outcome[name], value)


def test_a_rig_that_does_something_else_than_the_recorded_one_is_told_where(lab):
    text = station_a(device="ideal")
    recorded = lab.run(text)
    station = station_of(text)
    log = recorded.run.path / "wire.jsonl"
    rig = RigFactory().create(station, station.array[0], seed=3, replay=log, virtual=True)
    with pytest.raises(LinkError, match="came where the recording has"), rig:
        SynapseArray(rig, station.drive.operating_point()).run(load_protocol("read-map"))
