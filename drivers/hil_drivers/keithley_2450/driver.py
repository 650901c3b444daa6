"""Driver of the Keithley 2450 family in its SCPI command set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final, Literal, cast

import numpy as np

from hil.capabilities import Range
from hil.config.quantities import Second, Table
from hil.errors import BackendError, BackendUnavailable, LimitError
from hil.measurement import Status
from hil_drivers.gridlist import GridList, grid_lists
from hil_drivers.lowering import channel_readings, check_shared, number, quantise
from hil_drivers.scpi import numbers
from hil_drivers.scpi_source import ScpiSource
from hil_drivers.steps import (
    RELATIVE,
    ChannelCapabilities,
    ChannelReadings,
    ChannelSteps,
    Delivered,
    FloatArray,
    Identity,
    RunEstimate,
    SpotReading,
    SyncPlan,
)
from hil_drivers.transport.blocks import parse_numbers, readings
from hil_drivers.transport.session import SHORT_TIMEOUT_S

_LIMITED: Final = 32  # source status STAT_LIMIT (2470-901-01 rev. A p. 14-32; 2450-901-01 p. 8-29)
_LIST, _POINTS = 100, 100_000
_BUFFER = '"defbuffer1"'
_LOW_A = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: model -> (source ranges, current ranges)
_MODELS: Final = {
    "2450": ((0.02, 0.2, 2.0, 20.0, 200.0), _LOW_A),
    "2460": ((0.2, 2.0, 7.0, 10.0, 20.0, 100.0), (*_LOW_A[2:], 4.0, 5.0, 7.0)),
    "2461": ((0.2, 2.0, 7.0, 10.0, 20.0, 100.0), (*_LOW_A[2:], 4.0, 5.0, 7.0)),
    "2470": ((0.2, 2.0, 20.0, 200.0, 1000.0), _LOW_A),
}


class Settings(Table):
    """Settings of one 2450: terminals, sense, mains, off state, time that a point takes besides."""

    terminals: Literal["front", "rear"] = "front"
    sense: Literal["local", "remote"] = "local"
    line_frequency_hz: Literal[50, 60] = 50
    off: Literal["high-z", "normal", "zero"] = "high-z"
    point_overhead: Second = 0.0


class Keithley2450(ScpiSource):
    """Keithley 2450/2460/2461/2470 in SCPI mode; TSP mode is refused with what to do about it.

    Limits (2450-901-01 rev. B): 2450: 200 V, 1 A; a list holds 100 levels (p. 6-78), run up to
    268 435 455 times with a delay from 50 us (p. 6-85); ``defbuffer1`` 100 000 readings. Nothing
    paces a list point: it lasts its delay and its measurement, so that widths are multiples of
    1 ms, at least 4 ms, and ``point_overhead`` (found with an oscilloscope) is taken off the delay.
    Every list point is measured. Starts by software only.
    """

    driver: ClassVar[str] = "keithley-2450"
    models: ClassVar[str] = r"24(50|60|61|70)"
    Settings = Settings

    _loaded: tuple[Delivered, GridList] | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """One channel, ``1``."""
        return ("1",)

    @property
    def _line_hz(self) -> float:
        return cast(Settings, self.settings).line_frequency_hz

    def channel_capabilities(self, channel: str) -> ChannelCapabilities:
        """Return the limits of the model (2450-901-01 rev. B, p. 6-78 and specifications)."""
        self._own(channel)
        ranges_v, ranges_a = _MODELS["2450" if self.identity is None else self.identity.model]
        return ChannelCapabilities(
            level_v=Range(-ranges_v[-1], ranges_v[-1], 2.5e-5 * ranges_v[0]),
            width_s=Range(4e-3, 2.0, 1e-3),
            compliance_a=Range(0.1 * ranges_a[0], ranges_a[-1]),
            sense_a=Range(-ranges_a[-1], ranges_a[-1], 1e-6 * ranges_a[0]),
            ranges_v=ranges_v,
            ranges_a=ranges_a,
            max_list_steps=_POINTS,
            max_readings=_POINTS,
            min_period_s=4e-3,
            min_measured_s=4e-3,
            overhead_s=30e-3,
            counts_a=1e6,
            overrange_a=1.05,
        )

    # -- life ------------------------------------------------------------------------------

    def identify(self) -> Identity:
        """Return who answers; the command set has to be SCPI.

        Raises:
            BackendUnavailable: another instrument, or one in TSP or 2400 emulation mode.
        """
        identity = super().identify()
        language = self.session.query("*LANG?").strip()
        if language != "SCPI":
            raise BackendUnavailable(
                f"{self.name} ({self.session.address}): the {identity.model} is in its {language} "
                f"command set; send `*LANG SCPI` to it, switch it off and on, and try again"
            )
        return identity

    def reset_to_known(self) -> None:
        """Reset; voltage source, current meter, autozero off, output off in the chosen state."""
        settings = cast(Settings, self.settings)
        mode = {"high-z": "HIMP", "normal": "NORM", "zero": "ZERO"}[settings.off]
        self._loaded = None
        self._running = False
        self._send(
            "*RST", "*CLS", f":ROUT:TERM {'FRON' if settings.terminals == 'front' else 'REAR'}",
            ":SOUR:FUNC VOLT", ":SOUR:VOLT 0", f":OUTP:VOLT:SMOD {mode}",
            ":SOUR:VOLT:READ:BACK OFF", ":SOUR:VOLT:DEL:AUTO OFF", ":SOUR:VOLT:DEL 0",
            ':SENS:FUNC "CURR"', ":SENS:CURR:AZER OFF", ":SENS:CURR:RANG:AUTO OFF",
            f":SENS:CURR:RSEN {'ON' if settings.sense == 'remote' else 'OFF'}",
        )  # fmt: skip
        self.check_errors("*RST")

    def _off(self) -> Sequence[str]:
        return (":ABOR", ":SOUR:VOLT 0", ":OUTP OFF")

    def _output_queries(self) -> Sequence[str]:
        return (":OUTP?",)

    def _begin_commands(self) -> Sequence[str]:
        return () if self._loaded is None else (":OUTP ON", ":INIT")

    def _end_commands(self) -> Sequence[str]:
        # *WAI keeps what follows until the trigger model is idle.
        return ("*WAI", ":SOUR:VOLT 0", ":OUTP OFF")

    # -- runs ------------------------------------------------------------------------------

    def _lowered(self, programs: Mapping[str, ChannelSteps]) -> tuple[Delivered, GridList]:
        check_shared(programs, self.name)
        for channel in programs:
            self._own(channel)
        steps = next(iter(programs.values()))
        can = self.channel_capabilities("1")
        range_v = can.range_for_v(float(np.abs(steps.level_v).max()))
        d = quantise(steps, can, f"{self.name}.1", level_resolution_v=2.5e-5 * range_v)
        grid = grid_lists({"1": d}, grid_s=1e-3, shortest_unit_s=4e-3, longest_list=_LIST,
                          most_points=_POINTS, name=self.name)["1"]  # fmt: skip
        overhead = cast(Settings, self.settings).point_overhead
        lowest, highest = 0.01 / self._line_hz, 10 / self._line_hz
        room = min(grid.unit_s - overhead - 50e-6, highest)
        asked = steps.aperture_s
        if asked is not None and not lowest * (1 - RELATIVE) <= asked <= room * (1 + RELATIVE):
            raise LimitError(
                "aperture_s", asked, room if asked > room else lowest, "s",
                where=f"{self.name}.1", note=f"points last {grid.unit_s:g} s",
            )  # fmt: skip
        aperture = min(grid.unit_s / 2, room) if asked is None else asked
        return replace(d, aperture_s=aperture), grid

    def delivered(self, programs: Mapping[str, ChannelSteps]) -> Mapping[str, Delivered]:
        """Return the steps on the instrument's grids; nothing is sent."""
        return {"1": self._lowered(programs)[0]}

    def estimate(self, programs: Mapping[str, ChannelSteps]) -> RunEstimate:
        """Return six messages: load, start, done, errors, count and readings."""
        _, grid = self._lowered(programs)
        steps = next(iter(programs.values()))
        note = f"{grid.n_points} list points of {grid.unit_s:g} s, not paced"
        return RunEstimate(4 + 2 * bool(steps.n_readings), steps.duration_s + 30e-3, True, note)

    def load(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> Mapping[str, Delivered]:
        """Send the list and the sweep in one message."""
        self._software_only(sync)
        d, grid = self._lowered(programs)
        range_v = self.channel_capabilities("1").range_for_v(float(np.abs(d.level_v).max()))
        overhead = cast(Settings, self.settings).point_overhead
        delay = max(50e-6, grid.unit_s - d.aperture_s - overhead)
        # Range, then limit, then level.
        self._send(
            f":SOUR:VOLT:RANG {number(range_v)}",
            f":SENS:CURR:RANG {number(d.range_a)}",
            f":SOUR:VOLT:ILIM {number(d.compliance_a)}",
            f":SENS:CURR:NPLC {number(d.aperture_s * self._line_hz)}",
            f":SOUR:LIST:VOLT {numbers(grid.levels_v)}",
            f":TRAC:CLE {_BUFFER}",
            f":SOUR:SWE:VOLT:LIST 1,{number(delay)},{grid.cycles},OFF,{_BUFFER}",
        )  # fmt: skip
        self._loaded = (d, grid)
        self._note_duration(d)
        return {"1": d}

    def collect(self) -> Mapping[str, ChannelReadings]:
        """Read the buffer; the last point of every pulse is its reading."""
        if self._loaded is None:
            raise BackendError(f"{self.name}: nothing is loaded")
        d, grid = self._loaded
        if not d.measure.any():
            return {}
        count = self.session.query(f":TRAC:ACT? {_BUFFER}")
        n = min(int(parse_numbers(count, 1, self.session.address)[0]), grid.n_points)
        values = np.empty((0, 2))
        if n:
            text = self.session.query(f":TRAC:DATA? 1,{n},{_BUFFER},READ,SOURSTAT",
                                      SHORT_TIMEOUT_S + n * 24 / 1e5)  # fmt: skip
            values = parse_numbers(text, 2 * n, self.session.address).reshape(-1, 2)
        return {"1": _decode(d, grid, values)}

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
        self._own(channel)
        aperture = 1 / self._line_hz if aperture_s is None else aperture_s
        overhead = cast(Settings, self.settings).point_overhead
        width = max(4e-3, math.ceil((aperture + overhead + 2e-3) * 1e3) / 1e3)
        steps = ChannelSteps.build(level_v, width, width, measure=True, aperture_s=aperture,
                                   compliance_a=compliance_a, range_a=range_a)  # fmt: skip
        self.load({channel: steps})
        self.start()
        self.wait(SHORT_TIMEOUT_S + 2 * width)
        reading = self.collect()[channel]
        return SpotReading(float(reading.level_v[0]), float(reading.current_a[0]),
                           float(reading.range_a[0]), int(reading.status[0]))  # fmt: skip


def _decode(d: Delivered, grid: GridList, values: FloatArray) -> ChannelReadings:
    there = grid.pulse_point[grid.pulse_point < len(values)]
    current, status = readings(values[there, 0])
    limited = (values[there, 1].astype(np.int64) & _LIMITED) != 0
    status[limited] |= np.uint32(Status.I_COMPLIANCE)
    taken = np.ones(len(grid.pulse_point), dtype=np.bool_)
    return channel_readings(d, taken, current, status, int(Status.I_COMPLIANCE))
