"""Instruments in memory that share one ohmic array: physics and rules, no language."""

from __future__ import annotations

import numpy as np
from hil_drivers.instrument import (
    ChannelCapabilities,
    ChannelReadings,
    Delivered,
    Identity,
    RunEstimate,
    SourceInstrument,
    SpotReading,
    SwitchMatrix,
    SyncRole,
)

from hil.capabilities import Range
from hil.errors import LinkError
from hil.measurement import Status

SMU = ChannelCapabilities(
    level_v=Range(-20.0, 20.0, 1e-4), width_s=Range(1e-4, 10.0, 1e-6),
    compliance_a=Range(1e-8, 1.0), sense_a=Range(-1.0, 1.0, 1e-12), ranges_v=(2.0, 20.0),
    ranges_a=(1e-6, 1e-3, 1.0), max_list_steps=500, max_readings=400, min_period_s=1.2e-4,
    min_measured_s=2e-4,
)  # fmt: skip
PULSER = ChannelCapabilities(
    level_v=Range(-5.0, 5.0, 1e-3), width_s=Range(1e-8, 10.0), compliance_a=Range(),
    sense_a=Range(), ranges_v=(5.0,), ranges_a=(), max_list_steps=100_000, max_readings=0,
    min_period_s=2e-8, can_measure=False, can_limit_current=False, repeats_free=True,
)  # fmt: skip


class World:
    """One ohmic array, its wires, and everything that must never happen to it."""

    def __init__(self, geometry, ways, g_siemens, dg=1e-6):
        self.geometry, self.ways = geometry, list(ways)
        self.g = np.array(g_siemens, dtype=float)
        self.dg = dg
        self.closed: set[tuple[str, str]] = set()
        self.on: set[str] = set()
        self.armed: dict[str, FakeSource] = {}
        self.incidents: list[str] = []
        self.log: list[tuple] = []
        self.dead: set[str] = set()
        self.sessions: dict[str, int] = {}
        self.path_ohm = 0.0

    def connect(self, name):
        self.sessions[name] = self.sessions.get(name, 0) + 1
        return FakeSession(self, name)

    def line_channel(self):
        found = {}
        for way in self.ways:
            if way.matrix is None or (way.matrix, way.crosspoint) in self.closed:
                if way.line in found:
                    self.incidents.append(f"two channels on {way.line}")
                found[way.line] = way.channel
        return found

    def move(self, matrix, wanted):
        if self.on:
            self.incidents.append(f"hot switching with {sorted(self.on)} on")
        now = {p for m, p in self.closed if m == matrix}
        self.log.append(("route", matrix, len(now ^ set(wanted))))
        others = {(m, p) for m, p in self.closed if m != matrix}
        self.closed = others | {(matrix, p) for p in wanted}

    def solve(self, levels):
        """Return (line potentials, line currents into the array) with channel levels in volts."""
        n_rows, n_cols = self.geometry.shape
        n = n_rows + n_cols
        laplace = np.zeros((n, n))
        laplace[:n_rows, n_rows:] = -self.g
        laplace[n_rows:, :n_rows] = -self.g.T
        laplace -= np.diag(laplace.sum(axis=1))
        held = self.line_channel()
        v, free = np.zeros(n), np.zeros(n, dtype=bool)
        for k in range(n):
            channel = held.get(self.geometry.line_name(k))
            if channel is None or (channel != "common" and channel not in self.on):
                free[k] = True
            elif channel != "common":
                v[k] = levels.get(channel, 0.0)
        if free.any():
            a = laplace[np.ix_(free, free)] + 1e-15 * np.eye(free.sum())
            v[free] = np.linalg.solve(a, -laplace[np.ix_(free, ~free)] @ v[~free])
        return v, laplace @ v

    def run_armed(self):
        """Run all armed sources together, pulse by pulse."""
        armed, self.armed = self.armed, {}
        for source in armed.values():
            self.on |= {f"{source.name}.{c}" for c in source.loaded}
        programs = {f"{n}.{c}": p for n, s in armed.items() for c, p in s.loaded.items()}
        first = next(iter(programs.values()))
        out = {c: [] for c in programs}
        t = 0.0
        held = self.line_channel()
        for step in range(len(first)):
            levels = {c: float(p.level_v[step]) for c, p in programs.items()}
            for pulse in range(int(first.repeat[step])):
                v, current = self.solve(levels)
                for c, p in programs.items():
                    if p.measure[step]:
                        lines = [k for k in range(v.size)
                                 if held.get(self.geometry.line_name(k)) == c]  # fmt: skip
                        total, status = current[lines].sum(), 0
                        if abs(total) > p.compliance_a:
                            total, status = np.sign(total) * p.compliance_a, Status.I_COMPLIANCE
                        out[c].append((step, pulse, round(t * 1e9), levels[c], total, int(status)))
                device = v[: self.g.shape[0], None] - v[None, self.g.shape[0] :]
                self.g = self.g + np.where(np.abs(device) >= 0.9, np.sign(device) * self.dg, 0.0)
                t += float(first.period_s[step])
        self.on.clear()
        for name, source in armed.items():
            source.results = {c: out[f"{name}.{c}"] for c in source.loaded}
        self.log.append(("run", tuple(sorted(armed)), first.n_pulses))


class FakeSession:
    def __init__(self, world, name):
        self.world, self.address, self.transactions = world, f"fake::{name}", 0
        self.name, self.closed = name, False

    def check(self):
        self.transactions += 1
        if self.name in self.world.dead:
            raise LinkError("no answer", self.address)

    def query(self, message):
        assert message == "*ESR?"
        self.check()
        return "0"

    def clear(self):
        self.check()
        self.world.log.append(("clear", self.name))

    def close(self):
        self.closed = True


class FakeSource(SourceInstrument):
    driver, models = "fake-source", ".*"

    def __init__(self, name, world, channels, can=SMU):
        super().__init__(name)
        self.world, self._channels, self.can = world, tuple(channels), can
        self.loaded, self.results = {}, {}
        self.during = None  # called in wait(), while outputs are on

    def open(self, session, claim=None):
        self._session = session
        session.check()
        self.identity = Identity("Fake", self.name, "1", "1")
        self.reset_to_known()
        return self.identity

    @property
    def channels(self):
        return self._channels

    def channel_capabilities(self, channel):
        return self.can

    def reset_to_known(self):
        self.safe()

    def errors(self):
        return []

    def safe(self):
        self.session.check()
        self.world.log.append(("safe", self.name))
        self.world.armed.pop(self.name, None)
        self.world.on -= {f"{self.name}.{c}" for c in self._channels}

    def abort(self, second_session):
        second_session.clear()
        self.world.log.append(("abort", self.name))
        self.world.on -= {f"{self.name}.{c}" for c in self._channels}

    def delivered(self, programs):
        return {
            c: Delivered(
                self.can.level_v.quantise(p.level_v), self.can.width_s.quantise(p.width_s),
                p.period_s, p.repeat, p.measure, p.compliance_a,
            )
            for c, p in programs.items()
        }  # fmt: skip

    def estimate(self, programs, sync=None):
        first = next(iter(programs.values()))
        return RunEstimate(3, first.duration_s, True)

    def load(self, programs, sync=None):
        self.session.check()
        total = sum(p.n_readings for p in programs.values())
        assert self.can.repeats_free or all(p.n_pulses <= self.can.max_list_steps
                                            for p in programs.values())  # fmt: skip
        assert not total or total <= self.can.max_readings * len(programs)
        out = self.delivered(programs)
        self.loaded = {
            c: type(p)(out[c].level_v, out[c].width_s, p.period_s, p.repeat, p.measure,
                       p.compliance_a, p.range_a)
            for c, p in programs.items()
        }  # fmt: skip
        self.sync = sync
        return out

    def start(self):
        self.session.check()
        self.world.armed[self.name] = self
        if self.sync.role is not SyncRole.FOLLOWER:
            self.world.on |= {f"{self.name}.{c}" for c in self.loaded}
            if self.during is None:
                self.world.run_armed()

    def wait(self, timeout_s):
        if self.during is not None:
            self.during()
        self.session.check()

    def collect(self):
        self.session.check()
        out = {}
        for c, rows in self.results.items():
            if rows:
                step, pulse, t, v, i, status = (np.array(x) for x in zip(*rows, strict=True))
                out[c] = ChannelReadings(step, pulse, t, v, i, np.full(len(step), 1e-3),
                                         status.astype(np.uint32))  # fmt: skip
        return out

    def measure_once(self, channel, *, level_v, compliance_a, range_a=None, aperture_s=None):
        self.session.check()
        name = f"{self.name}.{channel}"
        self.world.on.add(name)
        _, current = self.world.solve({name: level_v})
        held = self.world.line_channel()
        lines = [k for k in range(current.size)
                 if held.get(self.world.geometry.line_name(k)) == name]  # fmt: skip
        self.world.on.discard(name)
        total = float(current[lines].sum())
        return SpotReading(level_v, float(np.clip(total, -compliance_a, compliance_a)), 1e-3)


class FakeMatrix(SwitchMatrix):
    driver, models, crosspoint_pattern, settle_s = "fake-matrix", ".*", r"\d[A-H]\d\d", 1e-3

    def __init__(self, name, world):
        super().__init__(name)
        self.world = world

    def open(self, session, claim=None):
        self._session = session
        session.check()
        self.identity = Identity("Fake", self.name, "1", "1")
        return self.identity

    def reset_to_known(self):
        self.open_all()

    def errors(self):
        return []

    def safe(self):
        self.open_all()

    def abort(self, second_session):
        second_session.check()

    def closed(self):
        return frozenset(p for m, p in self.world.closed if m == self.name)

    def close(self, crosspoints):
        self.route(self.closed() | set(crosspoints))

    def open_relays(self, crosspoints):
        self.route(self.closed() - set(crosspoints))

    def open_all(self):
        self.route(())

    def route(self, crosspoints):
        self.session.check()
        self.world.move(self.name, self.check_crosspoints(crosspoints))
