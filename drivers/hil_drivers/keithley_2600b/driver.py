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
    FloatArray,
    RunEstimate,
    SpotReading,
    SyncPlan,
    SyncRole,
)  # fmt: skip
from hil_drivers.transport.blocks import readings
from hil_drivers.transport.session import SHORT_TIMEOUT_S, Session
from hil_drivers.tsp import poll_errors, printed, printed_numbers, script

_COMPLIANCE_BIT = 0x40  # buffer status bit B6 (2600BS-901-01 rev. F p. 9-34)
_PACKAGE = "hil_drivers.keithley_2600b"
_KEPT = 8  # different programs whose lowering is remembered


class Settings(Table):
    """Settings of one 2600B: four-wire sense, what off means, settling of a spot reading.

    ``period_lists``: let timers walk a list of delays inside one sweep, as the manual's section on
    timers says (pages in :mod:`hil_drivers.keithley_2600b.lowering`); false begins a new sweep
    where the period changes or pulses that are measured and others alternate, should a firmware do
    otherwise.
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
    _lowered: tuple[lowering.Lowered, ...] = ()
    _plan: lowering.Plan | None = None
    _role = SyncRole.SOFTWARE
    _uploaded = ""  #: what the instrument holds, ready to be run again
    _counts: tuple[int, int] | None = (0, 0)  #: readings in the buffers, None = ask
    _blocks: Mapping[str, FloatArray] | None = None  #: what came with the end of the run

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
        self._uploaded = ""
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
        return self._known(programs).delivered

    def _known(self, programs: Mapping[str, ChannelSteps]) -> lowering.Lowered:
        """Return what was found for equal programs before; the last few are kept."""
        for known in self._lowered:
            if known.fits(programs, self.model, self._line_hz):
                return known
        delivered = lowering.deliver(programs, self.model, self._line_hz, self.name)
        found = lowering.Lowered(dict(programs), self.model, self._line_hz, delivered)
        self._lowered = (found, *self._lowered[: _KEPT - 1])
        return found

    def check_start(self, programs: Mapping[str, ChannelSteps], sync: SyncPlan) -> None:
        """Refuse a line that there is not, and what needs more than one sweep."""
        lowering.starting(self._known(programs).delivered, sync, self.model, self.name,
                          same_period=self._same_period)  # fmt: skip

    def estimate(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> RunEstimate:
        """Return one message, which the readings answer; a follower says first that it waits."""
        known = self._known(programs)
        if known.n_segments is None:
            known.n_segments = len(lowering.plan_segments(
                known.delivered, SOFTWARE_START, same_period=self._same_period))  # fmt: skip
        steps = next(iter(programs.values()))
        run_s = steps.duration_s + models.SEGMENT_S * known.n_segments
        note = f"{steps.n_pulses} pulses in {known.n_segments} sweeps"
        follows = sync is not None and sync.role is SyncRole.FOLLOWER
        return RunEstimate(1 + follows, run_s, True, note)

    def load(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> Mapping[str, Delivered]:
        """Lower to one message, which :meth:`start` sends; none when the instrument holds it."""
        known, start = self._known(programs), sync or SOFTWARE_START
        plan = known.plans.get(start)
        if plan is None:
            plan = lowering.lower(known.delivered, start, self.model, self._line_hz, self.name,
                                  same_period=self._same_period)  # fmt: skip
            known.plans[start] = plan
        self._plan = plan
        self._counts, self._blocks = (0, 0), None
        self._role = SyncRole.SOFTWARE if sync is None else sync.role
        return plan.delivered

    def start(self) -> None:
        """Start the uploaded run; it ends with outputs off by itself."""
        if self._plan is None:
            raise BackendError(f"{self.name}: nothing is loaded")
        self._run += 1
        held = self._uploaded
        self._counts, self._blocks = None, None
        self._running = True
        upload, self._uploaded = self._plan.message, ""
        lines = [] if upload == held else [upload]
        # GPIB moves about 100 kB/s into a script (planning value), which then builds its tables.
        timeout_s = SHORT_TIMEOUT_S + sum(len(text) for text in lines) / 1e5
        if self._role is not SyncRole.FOLLOWER:
            self.session.write("\n".join([*lines, f"hil_run({self._run})"]), timeout_s)
            return
        # A trigger that comes before the trigger model waits for it would be lost.
        follow = "\n".join([*lines, f"hil_follow({self._run})"])
        answer = printed(self.session.query(follow, timeout_s))
        if answer != ["armed", float(self._run)]:
            raise LinkError(f"run {self._run} was to be armed, {answer!r} came",
                            self.session.address)  # fmt: skip

    def wait(self, timeout_s: float) -> None:
        """Read the line that the run prints when its outputs are off, and the readings after it."""
        if self._role is SyncRole.FOLLOWER:
            answer = printed(self.session.query(f"hil_finish({self._run})", timeout_s))
        else:
            answer = printed(self.session.read(timeout_s))
        values = self._reply(answer, 7)
        self._running = False
        self._counts = (int(values[2]), int(values[3]))
        self._blocks = {c: self._block(n) for c, n in zip("ab", self._counts, strict=True) if n}
        self._refuse_on(values[0])
        if values[1]:
            self.check_errors(f"hil_run({self._run})")
        if answer[6] != "ok":
            raise InstrumentError(0, f"{self.name}: {answer[6]}", f"hil_run({self._run})")
        if self._plan is not None:
            self._uploaded = self._plan.message

    def _block(self, n: int) -> FloatArray:
        """Read a block of ``n`` readings and their statuses, which the run has announced."""
        return self.session.read_binary(2 * n, "<f4", SHORT_TIMEOUT_S + n / 1e4)

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
        """Return currents and status words of every measured channel.

        They came with the end of the run; after one that failed they are asked for.
        """
        if self._plan is None:
            raise BackendError(f"{self.name}: nothing is loaded")
        out = {}
        for channel, d in self._plan.delivered.items():
            if d.measure.any():
                out[channel] = self._collect(channel, d, self._plan.taken[channel])
        return out

    def _held(self, channel: str) -> int:
        """Return how many readings of this run the buffer holds; asked for when no answer came."""
        if self._counts is None:
            answer = self.session.query("print(hil_ran,hil_count(smua),hil_count(smub))")
            ran, a, b = printed_numbers(answer, 3, self.session.address)
            self._counts = (int(a), int(b)) if ran == self._run else (0, 0)
        return self._counts["ab".index(channel)]

    def _collect(self, channel: str, d: Delivered, taken: BoolArray) -> ChannelReadings:
        n = min(self._held(channel), int(np.count_nonzero(taken)))
        values = np.empty(0) if self._blocks is None else self._blocks.get(channel, np.empty(0))
        values = values[: 2 * n]
        if n and self._blocks is None:
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
