"""The same rules for every driver: the safe state, aborts, and relays that do as told."""

from __future__ import annotations

import pytest
from every_driver import CROSSPOINTS, SOURCES, every, every_matrix, every_source, opened, program
from fake_session import DeadSession, FakeSession
from hil_drivers.instrument import SourceInstrument

from hil.errors import LinkError, ReadbackError


@every
def test_safe_is_idempotent_and_reads_back(name):
    instrument, session = opened(name)
    session.log.clear()
    instrument.safe()
    first = list(session.log)
    session.log.clear()
    instrument.safe()
    assert session.log == first
    assert "print(" in first[-1] or "?" in first[-1]


@every_source
def test_safe_says_so_when_an_output_stays_on(name):
    instrument, session = opened(name)
    session.output = "1"
    with pytest.raises(ReadbackError, match="still on"):
        instrument.safe()


@every
def test_safe_tries_every_step_on_a_dead_link_and_repeats_none(name):
    session = DeadSession(name)
    instrument, _ = opened(name, session)
    if isinstance(instrument, SourceInstrument):
        instrument.load(program(instrument))
        instrument.start()
    session.dead = True
    session.log.clear()
    with pytest.raises(LinkError):
        instrument.safe()
    tried = [m for m in session.log if m != "<clear>"]
    assert len(tried) == len(set(tried))
    if isinstance(instrument, SourceInstrument):
        assert session.log[0] == "<clear>"
        assert len(tried) >= 2


@pytest.mark.parametrize("name", [n for n in SOURCES if n != "keithley-2600b"])
def test_safe_waits_for_a_run_that_nothing_can_overtake(name):
    instrument, session = opened(name)
    waited = []
    ask = session.query

    def query(message, timeout_s=1.0):
        waited.append(timeout_s)
        return ask(message, timeout_s)

    session.query = query
    instrument.load(program(instrument, repeat=40))
    instrument.start()
    instrument.safe()
    assert waited[-1] >= 41 * 16e-3 + 1.0
    instrument.safe()
    assert waited[-1] < waited[-2]


@every
def test_abort_clears_the_device_first_and_goes_on_when_that_fails(name):
    instrument, _ = opened(name)
    second = DeadSession(name)
    second.dead = True
    with pytest.raises(LinkError):
        instrument.abort(second)
    assert second.log[0] == "<clear>"
    assert len(second.log) >= 2
    healthy = FakeSession(name)
    instrument.abort(healthy)
    assert healthy.log == second.log
    assert "OFF" in healthy.log[-1] or "output=0" in healthy.log[-1] or "open" in (
        healthy.log[-1].lower())  # fmt: skip


@every_matrix
def test_a_relay_that_does_not_follow_is_a_readback_error(name):
    instrument, session = opened(name)

    def stuck(verb: str, names: str) -> None:
        return

    session._relays = stuck
    with pytest.raises(ReadbackError):
        instrument.close([CROSSPOINTS[name][0]])


@every_matrix
def test_route_moves_no_relay_twice(name):
    instrument, session = opened(name)
    first, second = CROSSPOINTS[name]
    instrument.route([first, second])
    session.log.clear()
    instrument.route([second, first])
    assert session.log == []
    instrument.route([second])
    assert session.closed == {second}
    assert first in session.log[0]
    assert second not in session.log[0]
