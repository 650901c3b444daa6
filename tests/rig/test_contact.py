"""The contact check, on emulated instruments that have errors."""

from __future__ import annotations

import pytest
from benches import HEAD, instrument, k707, span
from hil_drivers.calibration.contact import ContactCheck
from hil_drivers.calibration.plan import Wish
from imperfect_rigs import STATIONS, opened

from hil.errors import LimitError

pytest.importorskip("lupa")


def test_the_gates_of_transistors_are_open_while_contacts_are_checked():
    ways = ["smu.a", "smu.b", "common"]
    text = HEAD.format(rows=2, cols=2, device="hfox").replace(
        "cols = 2\n", 'cols = 2\ncell = "1T1R"\n'
    )
    text += 'gate_read_voltage = "1.5 V"\n' + instrument("smu", "keithley-2600b")
    text += instrument("mux", "keithley-707b")
    for k, group in enumerate(("WL", "BL", "GL")):
        text += span(group, 2, 1 + 2 * k, ways, k707)
    with opened(text) as setting:
        verdicts = {c.line: c.verdict for c in ContactCheck(setting.rig, setting.op).run()}
        found = setting.calibrate(Wish(frozenset({"reference"}), 1e5, averages=1))
    assert verdicts == dict.fromkeys(("WL0", "WL1", "BL0", "BL1"), "ok") | {
        "GL0": "gate", "GL1": "gate",
    }  # fmt: skip
    assert {r.line for r in found.references} == {"WL0", "BL0"}


def test_every_line_without_contact_or_with_a_short_is_named(spoilt):
    rig, bench, op = spoilt.rig, spoilt.bench, spoilt.op
    bench.array.g[:] = 1e-5
    bench.array.g[0, :] = 1e-15  # WL0 is off its probe
    bench.array.g[1, 2] = 0.1  # WL1 and BL2 touch
    contacts = ContactCheck(rig, op).run()
    verdicts = {c.line: c.verdict for c in contacts}
    assert verdicts.pop("WL0") == "open"
    assert verdicts.pop("WL1") == verdicts.pop("BL2") == "short"
    assert set(verdicts.values()) == {"ok"}
    assert len(contacts) == 5
    assert bench.safe
    (one,) = [c for c in contacts if c.line == "BL1"]
    assert one.current_a == pytest.approx(0.05 * 1e-5, rel=0.02)
    assert [c.line for c in contacts if c.bad] == ["WL0", "WL1", "BL2"]


def test_the_contact_check_stays_low_and_limits_the_current(spoilt):
    check = ContactCheck(spoilt.rig, spoilt.op)
    assert check.level_v == 0.05
    assert abs(check.level_v) < abs(spoilt.op.read_v)
    assert any("current limited to at most 150 uA" in line for line in check.lines())
    spoilt.bench.array.g[:] = 1.0
    assert all(abs(c.current_a) <= 1.6e-4 for c in check.run())
    for level_v, message in ((0.0, "is not 0 V"), (0.3, "the station's read voltage")):
        with pytest.raises(LimitError, match=message):
            ContactCheck(spoilt.rig, spoilt.op, level_v)


def test_a_contact_check_beyond_a_limit_drives_nothing():
    text = STATIONS["a"] + '\n[limits]\nlevel = ["-20 mV", "20 mV"]\n'
    with opened(text) as setting:
        before = setting.rig.rack.transactions
        with pytest.raises(LimitError, match="line level"):
            ContactCheck(setting.rig, setting.op)
        assert setting.rig.rack.transactions == before
