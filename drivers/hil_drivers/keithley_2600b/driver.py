"""Driver of the Keithley 2600A/2600B family (2602B, 2612B, 2636B …), TSP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, cast

import numpy as np

from hil.config.quantities import Second, Table
from hil.errors import BackendError, InstrumentError, LimitError, LinkError, ReadbackError
from hil.measurement import Status
from hil_drivers.instrument import SourceInstrument
from hil_drivers.keithley_2600b import lowering, models
from hil_drivers.lowering import channel_readings, number
from hil_drivers.safely import Attempts
from hil_drivers.steps import (
    SOFTWARE_START,
    BoolArray,
    ChannelCapabilities,
    ChannelReadings,
    ChannelSteps,
    Delivered,
    RunEstimate,
    SpotReading,
    SyncPlan,
    SyncRole,
)
from hil_drivers.transport.blocks import readings
from hil_drivers.transport.session import SHORT_TIMEOUT_S, Session
from hil_drivers.tsp import poll_errors, printed, printed_numbers, script

_COMPLIANCE_BIT = 0x40  # buffer status bit B6 (2600BS-901-01 rev. F p. 9-34)
_PACKAGE = "hil_drivers.keithley_2600b"


class Settings(Table):
    """Settings of one 2600B: four-wire sense, what off means, settling of a spot reading.

    ``period_lists``: let the period timer walk a list of delays inside one sweep, as the manual's
    section on timers says (2600BS-901-01 rev. F, Timers); false begins a new sweep where the period
    changes, should a firmware do otherwise.
    """

    sense: Literal["local", "remote"] = "local"
    off: Literal["high-z", "zero"] = "high-z"
    spot_settle: Second = 1e-3
    period_lists: bool = True


class Keithley2600B(SourceInstrument):
    """Keithley 2600A/2600B SourceMeter with TSP; whole pulse trains run inside the instrument.

    Limits (2600BS-901-01; pages in :mod:`hil_drivers.keithley_2600b.models`): 2601/02/04: 40 V,
    3 A to 6 V, 1 A above; 2611/12/14 and 2634/35/36: 200 V, 1.5 A to 20 V, 100 mA above; pulses
    from 100 us in steps of 1 us, measured from about 80 us (mains 50 Hz); current limit from 10 nA;
    20 000 pulses a run. Digital lines 1 … 14 start or pace a run (not on 2604B, 2614B, 2634B).
    """

    driver: ClassVar[str] = "keithley-2600b"
    models: ClassVar[str] = r"26(0[124]|1[124]|3[456])[AB]"
    Settings = Settings
    notices_reset: ClassVar[bool] = True  # it loses its script

    _line_hz = 50.0
    _run = 0
    _running = False
    _plan: lowering.Plan | None = None
    _role = SyncRole.SOFTWARE
    _counts: tuple[int, int] = (0, 0)

    @property
    def model(self) -> str:
        """The model found, the widest one before :meth:`open`."""
        return "2636B" if self.identity is None else self.identity.model

    @property
    def _same_period(self) -> bool:
        return not cast(Settings, self.settings).period_lists

    @property
    def channels(self) -> tuple[str, ...]:
        """``a`` and, on two-channel models, ``b``."""
        return models.channels(self.model)

    def channel_capabilities(self, channel: str) -> ChannelCapabilities:
        """Return the limits of the model; pages in :mod:`hil_drivers.keithley_2600b.models`."""
        self._own(channel)
        return models.capabilities(self.model, self._line_hz)

    def _own(self, channel: str) -> None:
        if channel not in self.channels:
            raise LimitError("channels", len(self.channels) + 1, len(self.channels), "",
                             where=f"{self.name}.{channel}",
                             note=f"a {self.model} has {', '.join(self.channels)}")  # fmt: skip

    # -- life ------------------------------------------------------------------------------

    def reset_to_known(self) -> None:
        """Reset, clear the queue, set formats, upload the script once."""
        settings = cast(Settings, self.settings)
        off = "OUTPUT_HIGH_Z" if settings.off == "high-z" else "OUTPUT_ZERO"
        sense = "SENSE_REMOTE" if settings.sense == "remote" else "SENSE_LOCAL"
        lines = ["reset()", "errorqueue.clear()", "format.data=format.REAL32",
                 "format.byteorder=format.LITTLEENDIAN"]  # fmt: skip
        for smu in self._smus():
            lines += [f"{smu}.source.offmode={smu}.{off}", f"{smu}.sense={smu}.{sense}"]
        self.session.write("\n".join(lines))
        self.session.write(script(_PACKAGE, "run.tsp"))
        answer = self.session.query("print(hil_version,localnode.linefreq)")
        _, self._line_hz = printed_numbers(answer, 2, self.session.address)
        self._plan = None
        self._running = False
        self.check_errors("reset and script upload")

    def _smus(self) -> list[str]:
        return [f"smu{c}" for c in self.channels]

    def errors(self) -> list[InstrumentError]:
        """Return and remove the entries of the error queue."""
        return poll_errors(self.session, "print(errorqueue.next())")

    def safe(self) -> None:
        """Abort what runs, levels 0 V, outputs off, read back; idempotent."""
        attempts = Attempts(self.name)
        if self._running:
            # A script that waits for its sweep takes no statement; this word ends it.
            attempts.run(self.session.clear)
            attempts.run(lambda: self.session.write("abort"))
        attempts.run(lambda: self.session.write(self._off_lines()))
        attempts.run(self._verify_off)
        attempts.finish()
        self._running = False

    def _off_lines(self) -> str:
        return "\n".join(f"{smu}.abort() {smu}.source.levelv=0 {smu}.source.output=0"
                         for smu in self._smus())  # fmt: skip

    def _verify_off(self) -> None:
        states = ",".join(f"{smu}.source.output" for smu in self._smus())
        numbers = printed_numbers(self.session.query(f"print({states})"), len(self.channels),
                                  self.session.address)  # fmt: skip
        self._refuse_on(sum(numbers))

    def _refuse_on(self, on: float) -> None:
        if on != 0:
            raise ReadbackError(f"{self.name}: an output is still on after it was switched off")

    def abort(self, second_session: Session) -> None:
        """Device clear, end the script, outputs off through another session."""
        attempts = Attempts(self.name)
        attempts.run(second_session.clear)
        attempts.run(lambda: second_session.write("abort"))
        attempts.run(lambda: second_session.write(self._off_lines()))
        attempts.finish()

    # -- runs ------------------------------------------------------------------------------

    def delivered(self, programs: Mapping[str, ChannelSteps]) -> Mapping[str, Delivered]:
        """Return the steps on the instrument's grids; nothing is sent."""
        return lowering.deliver(programs, self.model, self._line_hz, self.name)

    def estimate(self, programs: Mapping[str, ChannelSteps]) -> RunEstimate:
        """Return two messages and one per measured channel; pulses and set-up of the segments."""
        delivered = self.delivered(programs)
        parts = lowering.segments(delivered, same_period=self._same_period)
        measured = sum(bool(d.measure.any()) for d in delivered.values())
        steps = next(iter(programs.values()))
        overhead_s = models.capabilities(self.model, self._line_hz).overhead_s
        return RunEstimate(2 + measured, steps.duration_s + overhead_s + 5e-3 * len(parts), True,
                           f"{steps.n_pulses} pulses in {len(parts)} sweeps")  # fmt: skip

    def load(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> Mapping[str, Delivered]:
        """Send levels, widths and segments in one message."""
        plan = lowering.lower(programs, sync or SOFTWARE_START, self.model, self._line_hz,
                              self.name, same_period=self._same_period)  # fmt: skip
        # GPIB moves about 100 kB/s into a script (planning value), which then builds its tables.
        self.session.write(plan.message, SHORT_TIMEOUT_S + len(plan.message) / 1e5)
        self._plan = plan
        self._role = SyncRole.SOFTWARE if sync is None else sync.role
        return plan.delivered

    def start(self) -> None:
        """Start the uploaded run; it ends with outputs off by itself."""
        if self._plan is None:
            raise BackendError(f"{self.name}: nothing is loaded")
        self._run += 1
        self._counts = (0, 0)
        self._running = True
        if self._role is not SyncRole.FOLLOWER:
            self.session.write(f"hil_run({self._run})")
            return
        # A trigger that comes before the trigger model waits for it would be lost.
        answer = printed(self.session.query(f"hil_follow({self._run})"))
        if answer != ["armed", float(self._run)]:
            raise LinkError(f"run {self._run} was to be armed, {answer!r} came",
                            self.session.address)  # fmt: skip

    def wait(self, timeout_s: float) -> None:
        """Read the line that the run prints when its outputs are off."""
        if self._role is SyncRole.FOLLOWER:
            answer = printed(self.session.query(f"hil_finish({self._run})", timeout_s))
        else:
            answer = printed(self.session.read(timeout_s))
        values = self._reply(answer, 7)
        self._running = False
        self._counts = (int(values[2]), int(values[3]))
        self._refuse_on(values[0])
        if values[1]:
            self.check_errors(f"hil_run({self._run})")
        if answer[6] != "ok":
            raise InstrumentError(0, f"{self.name}: {answer[6]}", f"hil_run({self._run})")

    def _reply(self, answer: list[float | bool | str | None], count: int) -> list[float]:
        """Return outputs on, errors and the two values after them; the run number must be ours."""
        numbers = [v for v in answer[1:-1] if isinstance(v, float) and not isinstance(v, bool)]
        if len(answer) != count or answer[0] != "hil" or len(numbers) != count - 2:
            raise LinkError(f"the run answered {answer!r}", self.session.address)
        if numbers[0] != self._run:
            raise LinkError(f"run {self._run} was waited for, run {numbers[0]:g} answered",
                            self.session.address)  # fmt: skip
        return numbers[1:]

    def collect(self) -> Mapping[str, ChannelReadings]:
        """Read currents and status words of every measured channel, binary."""
        if self._plan is None:
            raise BackendError(f"{self.name}: nothing is loaded")
        out = {}
        for channel, d in self._plan.delivered.items():
            if d.measure.any():
                out[channel] = self._collect(channel, d, self._plan.taken[channel])
        return out

    def _collect(self, channel: str, d: Delivered, taken: BoolArray) -> ChannelReadings:
        n = min(self._counts["ab".index(channel)], int(np.count_nonzero(taken)))
        values = np.empty(0)
        if n:
            buffer = f"smu{channel}.nvbuffer1"
            values = self.session.query_binary(
                f"printbuffer(1,{n},{buffer}.readings,{buffer}.statuses)", 2 * n, "<f4",
                SHORT_TIMEOUT_S + n / 1e4,
            )  # fmt: skip
        current, status = readings(values[0::2])
        limited = (values[1::2].astype(np.int64) & _COMPLIANCE_BIT) != 0
        status[limited] |= np.uint32(Status.I_COMPLIANCE)
        return channel_readings(d, taken, current, status, int(Status.I_COMPLIANCE))

    def measure_once(
        self,
        channel: str,
        *,
        level_v: float,
        compliance_a: float,
        range_a: float | None = None,
        aperture_s: float | None = None,
    ) -> SpotReading:
        """Return one DC reading in amperes; one message, the output is off before and after."""
        self._own(channel)
        if aperture_s is None:
            aperture_s = 1.0 / self._line_hz
        width_s = 2 * aperture_s + 1e-3
        asked = ChannelSteps.build(level_v, width_s, width_s, measure=True, aperture_s=aperture_s,
                                   compliance_a=compliance_a, range_a=range_a)  # fmt: skip
        d = self.delivered({channel: asked})[channel]
        range_v = self.channel_capabilities(channel).range_for_v(abs(level_v))
        settle_s = cast(Settings, self.settings).spot_settle
        self._run += 1
        numbers = [float(d.level_v[0]), d.compliance_a, range_v, d.range_a,
                   d.aperture_s * self._line_hz, settle_s]  # fmt: skip
        call = f'hil_spot({self._run},"{channel}",{",".join(number(x) for x in numbers)})'
        answer = printed(self.session.query(call, SHORT_TIMEOUT_S + 3 * aperture_s + settle_s))
        values = self._reply(answer, 7)
        self._refuse_on(values[0])
        if values[1]:
            self.check_errors(call)
        if answer[6] != "ok":
            raise InstrumentError(0, f"{self.name}: {answer[6]}", call)
        current, status = readings(np.array([values[2]]))
        bits = int(status[0]) | (int(Status.I_COMPLIANCE) if values[3] else 0)
        return SpotReading(float(d.level_v[0]), float(current[0]), d.range_a, bits)
