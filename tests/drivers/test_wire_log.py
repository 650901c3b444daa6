from __future__ import annotations

import json

import numpy as np
import pytest
from hil_drivers.transport import ReplaySession, VisaSession, WireLog, load_wire_log
from hil_drivers.transport.blocks import definite_block
from line_server import LineServer

from hil.errors import LinkError, LinkTimeout, StoreError

VALUES = np.array([1.0, 10.0, -3.5e-7], dtype="<f4")


def answer(line: bytes) -> bytes | None:
    if line.startswith(b"set"):
        return None
    if line == b"block":
        return definite_block(VALUES) + b"\n"
    return b"ok " + line + b"\n"


def converse(session):
    session.write("set 1")
    first = session.query("ask")
    block = session.query_binary("block", 3, "<f4")
    session.write_binary("set:wave ", np.array([1, -2], dtype=">i2"))
    session.write("more")
    return first, block, session.read()


def test_a_recorded_session_replays_with_the_same_answers(tmp_path):
    path = tmp_path / "wire.jsonl"
    with LineServer(answer) as server, WireLog(path) as log:
        live = VisaSession(server.resource)
        recorded = converse(log.session("smu", live))
        live.close()
    replay = ReplaySession("replay", load_wire_log(path)["smu"])
    replayed = converse(replay)
    replay.finish()
    assert replayed[0] == recorded[0] == "ok ask"
    assert replayed[1] == pytest.approx(recorded[1])
    assert replayed[2] == recorded[2] == "ok more"
    assert replay.transactions == live.transactions


def test_the_log_keeps_the_order_over_instruments(tmp_path):
    path = tmp_path / "wire.jsonl"
    with WireLog(path) as log:
        smu = log.session("smu", ReplaySession.of([("a", None), ("b", None)]))
        mux = log.session("mux", ReplaySession.of([("m", None)]))
        smu.write("a")
        mux.write("m")
        smu.write("b")
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert [(x["n"], x["instrument"], x["sent"]) for x in lines] == [
        (0, "smu", "a"), (1, "mux", "m"), (2, "smu", "b"),
    ]  # fmt: skip


def test_a_failure_is_logged_and_replays_as_the_same_failure(tmp_path):
    path = tmp_path / "wire.jsonl"
    with LineServer(lambda line: None) as server, WireLog(path) as log:
        live = VisaSession(server.resource)
        with pytest.raises(LinkTimeout):
            log.session("smu", live).query("*IDN?", timeout_s=0.05)
        live.close()
    with pytest.raises(LinkTimeout):
        ReplaySession("replay", load_wire_log(path)["smu"]).query("*IDN?")


def test_a_replay_refuses_a_surplus_a_different_and_a_missing_message():
    with pytest.raises(LinkError, match="has ended"):
        ReplaySession.of([]).write("x")
    with pytest.raises(LinkError, match="'x' came where the recording has write 'y'"):
        ReplaySession.of([("y", None)]).write("x")
    with pytest.raises(LinkError, match="came where"):
        ReplaySession.of([("y", None)]).query("y")
    unfinished = ReplaySession.of([("y", "1"), ("z", None)])
    unfinished.query("y")
    with pytest.raises(LinkError, match="1 recorded exchanges were not used; next is write 'z'"):
        unfinished.finish()


def test_a_different_block_is_refused_in_a_replay(tmp_path):
    path = tmp_path / "wire.jsonl"
    with WireLog(path) as log, LineServer(answer) as server:
        live = VisaSession(server.resource)
        log.session("g", live).write_binary("set:wave ", np.array([1, 2], dtype=">i2"))
        live.close()
    replay = ReplaySession("replay", load_wire_log(path)["g"])
    with pytest.raises(LinkError, match="differs"):
        replay.write_binary("set:wave ", np.array([1, 3], dtype=">i2"))


def test_a_damaged_log_names_file_and_line(tmp_path):
    path = tmp_path / "wire.jsonl"
    path.write_text('{"n": 0, "t_s": 0, "instrument": "a", "op": "clear"}\n{"n": 1,\n')
    with pytest.raises(StoreError, match=r"wire\.jsonl:2"):
        load_wire_log(path)


def test_a_log_that_cannot_be_written_is_a_store_error(tmp_path):
    with pytest.raises(StoreError):
        WireLog(tmp_path / "no such folder" / "wire.jsonl")
