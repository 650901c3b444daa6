"""Driver of the Keysight B2901A, B2902A, B2911A and B2912A."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal, cast

import numpy as np

from hil.config.quantities import Second, Table
from hil.errors import BackendError, LimitError
from hil.measurement import Status
from hil_drivers.keysight_b2900 import lowering
from hil_drivers.lowering import channel_readings, number
from hil_drivers.scpi import numbers
from hil_drivers.scpi_source import ScpiSource
from hil_drivers.steps import (
    SOFTWARE_START,
    ChannelCapabilities,
    ChannelReadings,
    ChannelSteps,
    Delivered,
    RunEstimate,
    SpotReading,
    SyncPlan,
    SyncRole,
)
from hil_drivers.transport.blocks import parse_numbers, readings
from hil_drivers.transport.session import SHORT_TIMEOUT_S

#: Status data: bits 1 and 2 compliance, bit 13 range overflow (SCPI reference ed. 2, table 1-2).
_COMPLIANCE: Final = 0b110
_OVERFLOW: Final = 1 << 13
#: Operation condition: waiting for a transition arm and for an acquire arm (SCPI reference, 4-117).
_ARMED: Final = {"1": (1 << 3) | (1 << 6), "2": (1 << 9) | (1 << 12)}


class Settings(Table):
    """Settings of one B2900A: sense, state of an output that is off, settling of a spot reading."""

    sense: Literal["local", "remote"] = "local"
    off: Literal["high-z", "normal", "zero"] = "high-z"
    spot_settle: Second = 1e-3


class KeysightB2900(ScpiSource):
    """Keysight B2901A/02A/11A/12A: list sweeps of both channels on one trigger interval.

    Limits (B2900A SCPI reference, tables 2-4 and 2-5; data sheet): 200 V; 3 A to 2 V here, 1.5 A
    to 20 V, 100 mA above; pulses from 50 us in steps of 1 us; interval from 20 us (B2901A/02A) or
    10 us (B2911A/12A); 2 500 list points and readings. A run of one width and one period uses the
    pulse shape, any other a list of levels on a common time grid. Lines ``EXT1`` … ``EXT14``
    start a run.
    """

    driver: ClassVar[str] = "keysight-b2900"
    models: ClassVar[str] = r"B29[01][12][AB]L?"
    Settings = Settings

    _plan: Mapping[str, lowering.ChannelPlan] | None = None

    @property
    def model(self) -> str:
        """The model found, the widest one before :meth:`open`."""
        return "B2912A" if self.identity is None else self.identity.model

    @property
    def channels(self) -> tuple[str, ...]:
        """``1`` and, on two-channel models, ``2``."""
        return lowering.channels(self.model)

    def channel_capabilities(self, channel: str) -> ChannelCapabilities:
        """Return the limits of the model (pages in :mod:`hil_drivers.keysight_b2900.lowering`)."""
        self._own(channel)
        return lowering.capabilities(self.model)

    # -- life ------------------------------------------------------------------------------

    def reset_to_known(self) -> None:
        """Reset; voltage sources, current meters, no automatic waits, big-endian doubles."""
        settings = cast(Settings, self.settings)
        mode = {"high-z": "HIZ", "normal": "NORM", "zero": "ZERO"}[settings.off]
        self._plan = None
        self._running = False
        commands = ["*RST", "*CLS", ":FORM REAL,64", ":FORM:BORD NORM", ":FORM:ELEM:SENS CURR,STAT"]
        for c in self.channels:
            commands += [
                f":OUTP{c}:OFF:MODE {mode}", f":OUTP{c}:ON:AUTO OFF", f":SOUR{c}:FUNC:MODE VOLT",
                f":SOUR{c}:VOLT 0", f":SOUR{c}:VOLT:RANG:AUTO OFF", f":SOUR{c}:WAIT OFF",
                f':SENS{c}:FUNC "CURR"', f":SENS{c}:CURR:RANG:AUTO OFF", f":SENS{c}:WAIT OFF",
                f":SENS{c}:REM {'ON' if settings.sense == 'remote' else 'OFF'}",
            ]  # fmt: skip
        self._send(*commands)
        self.check_errors("*RST")

    def _off(self) -> Sequence[str]:
        off = [":ABOR"]
        for c in self.channels:
            off += [f":SOUR{c}:VOLT:MODE FIX", f":SOUR{c}:VOLT 0", f":OUTP{c} OFF"]
        return off

    def _output_queries(self) -> Sequence[str]:
        return [f":OUTP{c}?" for c in self.channels]

    def _begin_commands(self) -> Sequence[str]:
        used = list(self._plan or ())
        return [*(f":OUTP{c} ON" for c in used), f":INIT (@{','.join(used)})"] if used else ()

    def _armed(self) -> bool:
        answer = self.session.query(":STAT:OPER:COND?")
        state = int(parse_numbers(answer, 1, self.session.address)[0])
        wanted = sum(_ARMED[c] for c in self._plan or ())
        return state & wanted == wanted

    def _end_commands(self) -> Sequence[str]:
        # *WAI keeps what follows until both channels are idle again.
        off = [x for c in self._plan or () for x in (f":SOUR{c}:VOLT 0", f":OUTP{c} OFF")]
        return ["*WAI", *off]

    # -- runs ------------------------------------------------------------------------------

    def delivered(self, programs: Mapping[str, ChannelSteps]) -> Mapping[str, Delivered]:
        """Return the steps on the instrument's grids; nothing is sent."""
        plan = lowering.lower(programs, self.model, self.name)
        return {c: p.delivered for c, p in plan.items()}

    def check_start(self, programs: Mapping[str, ChannelSteps], sync: SyncPlan) -> None:
        """Refuse a line that there is not, and to be paced by one."""
        line = sync.line
        if sync.role is SyncRole.SOFTWARE:
            return
        if sync.each_pulse or not line.startswith("EXT") or not line[3:].isdigit():
            what = "not every pulse" if sync.each_pulse else f"not {line!r}"
            raise LimitError("trigger line", 0, 14, "", where=self.name,
                             note=f"EXT1 … EXT14 start a whole run, {what}")  # fmt: skip
        if not 1 <= int(line[3:]) <= 14:
            raise LimitError("trigger line", int(line[3:]), 14, "", where=self.name)

    def estimate(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> RunEstimate:
        """Return four messages (load, start, done, errors) and one per measured channel."""
        plan = lowering.lower(programs, self.model, self.name)
        first = next(iter(plan.values()))
        measured = sum(bool(p.delivered.measure.any()) for p in plan.values())
        steps = next(iter(programs.values()))
        note = f"{first.grid.n_points} list points of {first.grid.unit_s:g} s"
        return RunEstimate(
            1 + self._common_messages(sync) + measured, steps.duration_s + 15e-3, True, note
        )

    def load(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> Mapping[str, Delivered]:
        """Send lists, shapes and triggers of all channels in one message."""
        plan = lowering.lower(programs, self.model, self.name)
        sync = sync or SOFTWARE_START
        self.check_start(programs, sync)
        commands: list[str] = []
        for c, p in plan.items():
            commands += self._channel(c, p) + self._arm(c, sync)
        self._send(*commands)
        self._plan = plan
        self._note_duration(next(iter(plan.values())).delivered)
        self._sync = sync
        return {c: p.delivered for c, p in plan.items()}

    def _channel(self, c: str, p: lowering.ChannelPlan) -> list[str]:
        d = p.delivered
        range_v = self.channel_capabilities(c).range_for_v(float(np.abs(d.level_v).max()))
        levels = numbers(np.tile(p.grid.levels_v, p.grid.cycles))
        shape = [f":SOUR{c}:FUNC:SHAP DC"]
        if p.width_s is not None:
            shape = [f":SOUR{c}:FUNC:SHAP PULS", f":SOUR{c}:PULS:DEL 0",
                     f":SOUR{c}:PULS:WIDT {number(p.width_s)}"]  # fmt: skip
        # Range, then compliance, then level.
        return [
            f":SOUR{c}:VOLT:RANG {number(range_v)}", f":SENS{c}:CURR:RANG {number(d.range_a)}",
            f":SENS{c}:CURR:PROT {number(d.compliance_a)}", *shape,
            f":SOUR{c}:VOLT:MODE LIST", f":SOUR{c}:LIST:VOLT {levels}",
            f":SENS{c}:CURR:APER {number(d.aperture_s)}",
            f":TRIG{c}:ALL:SOUR TIM", f":TRIG{c}:ALL:TIM {number(p.grid.unit_s)}",
            f":TRIG{c}:ALL:COUN {p.grid.n_points}", f":TRIG{c}:TRAN:DEL 0",
            f":TRIG{c}:ACQ:DEL {number(round(max(p.acquire_delay_s, 0.0), 6))}",
            # The size can be set while the buffer is not being written only (p. 4-147).
            f":TRAC{c}:FEED:CONT NEV", f":TRAC{c}:CLE", f":TRAC{c}:FEED SENS",
            f":TRAC{c}:POIN {p.grid.n_points}", f":TRAC{c}:FEED:CONT NEXT",
        ]  # fmt: skip

    def _arm(self, c: str, sync: SyncPlan) -> list[str]:
        """What begins the list of a channel, or what it sends when it begins."""
        quiet = [f":ARM{c}:TRAN:TOUT OFF"] if self._sync.role is SyncRole.MASTER else []
        if sync.role is SyncRole.SOFTWARE:
            return [f":ARM{c}:ALL:SOUR AINT", *quiet]
        line = sync.line
        if sync.role is SyncRole.FOLLOWER:
            return [f":SOUR:DIG:{line}:FUNC TINP", f":ARM{c}:ALL:SOUR {line}", *quiet]
        return [f":SOUR:DIG:{line}:FUNC TOUT", f":ARM{c}:ALL:SOUR AINT",
                f":ARM{c}:TRAN:TOUT:SIGN {line}", f":ARM{c}:TRAN:TOUT ON"]  # fmt: skip

    def collect(self) -> Mapping[str, ChannelReadings]:
        """Read currents and status words of every measured channel, binary."""
        if self._plan is None:
            raise BackendError(f"{self.name}: nothing is loaded")
        return {c: self._collect(c, p) for c, p in self._plan.items() if p.delivered.measure.any()}

    def _collect(self, channel: str, p: lowering.ChannelPlan) -> ChannelReadings:
        n = self._points_taken(f":TRAC{channel}:POIN:ACT?", p.grid.n_points)
        values = np.empty((0, 2))
        if n:
            values = self.session.query_binary(
                f":TRAC{channel}:DATA?", 2 * n, ">f8", SHORT_TIMEOUT_S + n / 1e4
            ).reshape(-1, 2)
        there = p.grid.pulse_point[p.grid.pulse_point < n]
        current, status = readings(values[there, 0])
        word = values[there, 1].astype(np.int64)
        status[(word & _COMPLIANCE) != 0] |= np.uint32(Status.I_COMPLIANCE)
        over = (word & _OVERFLOW) != 0
        status[over] |= np.uint32(Status.OVERFLOW)
        current[over] = math.nan
        taken = np.ones(len(p.grid.pulse_point), dtype=np.bool_)
        return channel_readings(p.delivered, taken, current, status, int(Status.I_COMPLIANCE))

    def measure_once(
        self,
        channel: str,
        *,
        level_v: float,
        compliance_a: float,
        range_a: float | None = None,
        aperture_s: float | None = None,
    ) -> SpotReading:
        """Return one DC reading in amperes; the output is off before and after."""
        aperture = 20e-3 if aperture_s is None else aperture_s
        settle = cast(Settings, self.settings).spot_settle
        width = math.ceil((aperture + settle + lowering.MARGIN_S) * 1e6) / 1e6
        return self._spot(channel, level_v, compliance_a, range_a, aperture, width)
