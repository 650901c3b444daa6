"""Runs on the virtual bench that a fault ends: what was said, driven and recorded."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from benches import station_of

from hil.control import bench as control_bench
from hil.control.session import open_session
from hil.errors import HilError
from hil.measurement import Status
from hil.record import open_run

PULSES = 'schema = 1\nkind = "ltp-ltd"\ncells = [[1, 2], [3, 0], [0, 0]]\ncycles = 1\npulses = 4\n'


@dataclass
class Faulted:
    """What is left of a session: its error, its bench, its run folder."""

    out: Path
    bench: object = None
    error: HilError | None = None
    outcome: dict = field(default_factory=dict)

    @property
    def text(self):
        return "; ".join([str(self.error), *getattr(self.error, "__notes__", [])])

    @property
    def run(self):
        (folder,) = self.out.iterdir()
        return open_run(folder)

    @property
    def wire(self):
        text = (self.run.path / "wire.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def assert_safe(self, *, but=()):
        """Every output of the emulators is off and every relay open."""
        outputs = self.bench.outputs()
        assert not [n for n, o in outputs.items() if o.on and n.partition(".")[0] not in but]
        assert not any(self.bench.closed().values())

    def assert_recorded(self):
        """The folder is whole and says that it failed; rows of doubtful pulses say so."""
        run = self.run
        assert (run.status, run.verify()) == ("failed", ())
        assert type(self.error).__name__ in run.stop["error"]
        rows = run.pulses.to_pylist()
        for row in rows:
            doubtful = bool(row["status"] & Status.COUNT_UNKNOWN)
            assert (row["executed"] is None) == doubtful

    def assert_not_replayed(self):
        """No device got more pulses than recorded as possible, nor fewer than as sure."""
        shape = self.bench.array.geometry.shape
        least, most = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
        for row in self.run.pulses.to_pylist():
            least[row["row"], row["col"]] += row["executed"] or 0
            most[row["row"], row["col"]] += row["count"]
        got = self.bench.array.ordinal.astype(int)
        assert (least <= got).all()
        assert (got <= most).all()


class Lab:
    """Makes sessions on benches and keeps the bench of the last one."""

    def __init__(self, tmp_path, monkeypatch):
        self.path = tmp_path
        self.bench = None
        self.protocol = tmp_path / "pulses.toml"
        self.protocol.write_text(PULSES, encoding="utf-8")
        self._n = 0
        load = control_bench.load

        def kept(group, name):
            make = load(group, name)

            def opened(*args, **options):
                self.bench = make(*args, **options)
                self.arrange(self.bench)
                return self.bench

            return opened

        monkeypatch.setattr(control_bench, "load", kept)

    def arrange(self, bench):
        """Put in what is there before the rig is opened; tests replace it."""

    def run(self, text, fault=None, protocol=None, seed=3):
        """Run a protocol on a station; ``fault(bench)`` is called before the first pulse."""
        self._n += 1
        found = Faulted(self.path / f"runs{self._n}")
        station = station_of(text)
        try:
            with open_session(
                station, virtual=True, wire_log=True, out=found.out, seed=seed
            ) as session:
                found.bench = self.bench

                def started(*_):
                    if fault is not None:
                        fault(self.bench)

                report = session.run_protocol(protocol or self.protocol, started=started)
                found.outcome = report.result.outcome
        except HilError as exc:
            found.error = exc
        found.bench = self.bench
        return found


def at(instrument, what, nth, then):
    """Return a fault: ``then(bench, faults)`` when ``instrument`` gets ``what`` the nth time."""

    def arrange(bench):
        faults, seen = bench.faults[instrument], [0]

        def before(message):
            seen[0] += what in message
            if seen[0] == nth:
                faults.before = None
                then(bench, faults)

        faults.before = before

    return arrange


def put(**values):
    """Return what sets these faults of the instrument."""

    def then(_, faults):
        for name, value in values.items():
            setattr(faults, name, value)

    return then
