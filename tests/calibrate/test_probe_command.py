"""`hil check --probe`, as people use it."""

from __future__ import annotations

import pytest
from calibration_lab import TRUE_SIEMENS, Wrapped

pytest.importorskip("lupa")


def test_a_probe_shows_every_line_and_says_what_it_applies(here, told):
    code, out, err = here("check", "station.toml", "--probe", "--virtual")
    assert code == 0, err
    backend, applies, bounds, head, *lines = out.splitlines()
    assert backend.startswith("backend: rig on the virtual bench")
    assert applies.startswith("contact check: +50 mV and -50 mV on one of 5 lines at a time")
    assert "current limited to at most" in applies
    assert bounds.startswith("ok: ")
    assert head.split() == ["line", "channel", "current", "conductance"]
    assert [line.split()[0] for line in lines] == ["WL0", "WL1", "BL0", "BL1", "BL2"]
    assert all(line.endswith("  ok") for line in lines)
    found, _ = told("check", "station.toml", "--probe", "--virtual", "--volts", 0.1)
    assert (found["ok"], found["level_v"]) == (True, 0.1)
    for line in found["lines"]:
        n = 3 if line["line"].startswith("WL") else 2
        assert line["conductance_siemens"] == pytest.approx(n * TRUE_SIEMENS, rel=0.03)


def test_a_line_without_contact_gives_a_code_and_is_named(refused, monkeypatch):
    def lift(bench):
        bench.array.g[1, :] = 1e-15  # WL1 is off its probe
        bench.array.g[0, 2] = 0.1  # WL0 and BL2 touch

    wrapped = Wrapped(monkeypatch, prepare=lift)
    said = refused(5, "check", "station.toml", "--probe", "--virtual")
    assert said == (
        "hil: 3 of 5 lines are not as they should be: WL0 (short), WL1 (open), BL2 (short)"
    )
    assert wrapped.bench.safe
    assert not wrapped.bench.incidents


@pytest.mark.parametrize(
    ("code", "flags", "says"),
    [
        (
            4,
            "--probe --virtual --volts 0.3",
            "against limit 0.2 V (the limit is the station's read",
        ),
        (4, "--probe --virtual --volts 0", "is not 0 V"),
        (2, "--volts 0.1", "--volts belongs to --probe; without it nothing is driven"),
        (2, "--virtual", "--virtual belongs to --probe"),
        (2, "kilo.toml --probe", "--probe takes one station file"),
        (3, "--probe --virtual --array none", "no array is called 'none'"),
        (4, "--probe --virtual --open-below 1", "the limit is the bound of a short"),
    ],
)
def test_a_probe_that_cannot_be_gives_one_line(refused, code, flags, says):
    assert says in refused(code, "check", "station.toml", *flags.split())
