"""Driver of the Keithley 2400 (2401, 2410, 2420, 2425, 2430, 2440)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final, Literal, cast

import numpy as np

from hil.capabilities import Range
from hil.config.quantities import Second, Table
from hil.errors import BackendError, LimitError
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
    RunEstimate,
    SpotReading,
    SyncPlan,
)
from hil_drivers.transport.blocks import parse_numbers, readings
from hil_drivers.transport.session import SHORT_TIMEOUT_S, LinkSettings

_COMPLIANCE: Final = 1 << 3  # status element, 2400S-900-01 p. 18-52
_LIST, _POINTS = 100, 2500
_LOW_A = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: model -> (source ranges, current ranges, resolution of a range as a share)
_MODELS: Final = {
    "2400": ((0.2, 2.0, 20.0, 200.0), _LOW_A), "2401": ((0.2, 2.0, 20.0), _LOW_A),
    "2410": ((0.2, 2.0, 20.0, 1000.0), _LOW_A),
    "2420": ((0.2, 2.0, 20.0, 60.0), (*_LOW_A[1:], 3.0)),
    "2425": ((0.2, 2.0, 20.0, 100.0), (*_LOW_A[1:], 3.0)),
    "2430": ((0.2, 2.0, 20.0, 100.0), (*_LOW_A[1:], 3.0)),
    "2440": ((0.2, 2.0, 10.0, 40.0), (*_LOW_A[1:], 5.0)),
}  # fmt: skip


class Settings(Table):
    """Settings of one 2400: terminals, sense, mains, off state, time that a point takes besides."""

    terminals: Literal["front", "rear"] = "front"
    sense: Literal["local", "remote"] = "local"
    line_frequency_hz: Literal[50, 60] = 50
    off: Literal["high-z", "normal", "zero"] = "high-z"
    point_overhead: Second = 0.0


class Keithley2400(ScpiSource):
    """Keithley 2400 SourceMeter: list sweeps of up to 100 levels.

    Limits (2400S-900-01 rev. K): 2400: 200 V, 1 A without overrange; list 100 points (p. 18-91),
    begun again until the trigger count of up to 2 500 is reached (p. 18-93); buffer 2 500 readings.
    Nothing paces a list point: it lasts its delay and its measurement, so that widths are multiples
    of 1 ms, at least 2 ms, and ``point_overhead`` (found with an oscilloscope) is taken off the
    delay. No pulse mode but on the 2430. Every list point is measured. Starts by software only.
    """

    driver: ClassVar[str] = "keithley-2400"
    models: ClassVar[str] = r"24(0[01]|10|2[05]|[34]0)(-C|-LV)?"
    Settings = Settings
    link: ClassVar[LinkSettings] = LinkSettings(baud=57600)

    _loaded: tuple[Delivered, GridList] | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """One channel, ``1``."""
        return ("1",)

    @property
    def _line_hz(self) -> float:
        return cast(Settings, self.settings).line_frequency_hz

    def _ranges(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        model = "2400" if self.identity is None else self.identity.model[:4]
        return _MODELS[model]

    def channel_capabilities(self, channel: str) -> ChannelCapabilities:
        """Return the limits of the model (2400S-900-01 rev. K, p. 18-91 and specifications)."""
        self._own(channel)
        ranges_v, ranges_a = self._ranges()
        return ChannelCapabilities(
            level_v=Range(-ranges_v[-1], ranges_v[-1], 2.5e-5 * ranges_v[0]),
            width_s=Range(2e-3, 2.0, 1e-3),
            compliance_a=Range(1e-3 * ranges_a[0], ranges_a[-1]),
            sense_a=Range(-ranges_a[-1], ranges_a[-1], 1e-5 * ranges_a[0]),
            ranges_v=ranges_v,
            ranges_a=ranges_a,
            max_list_steps=_POINTS,
            max_readings=_POINTS,
            min_period_s=2e-3,
            min_measured_s=2e-3,
            overhead_s=60e-3,
            counts_a=1e5,
            overrange_a=1.055,
        )

    # -- life ------------------------------------------------------------------------------

    def reset_to_known(self) -> None:
        """Reset; voltage source, current meter, autozero off, output off in the chosen state."""
        settings = cast(Settings, self.settings)
        mode = {"high-z": "HIMP", "normal": "NORM", "zero": "ZERO"}[settings.off]
        self._loaded = None
        self._running = False
        self._send(
            "*RST", "*CLS", f":ROUT:TERM {'FRON' if settings.terminals == 'front' else 'REAR'}",
            f":SYST:RSEN {'ON' if settings.sense == 'remote' else 'OFF'}",
            ":SYST:AZER OFF", f":OUTP:SMOD {mode}", ":SOUR:FUNC VOLT", ":SOUR:VOLT:MODE FIX",
            ":SOUR:VOLT:LEV 0", ":SOUR:DEL:AUTO OFF", ":SENS:FUNC:CONC OFF",
            ":SENS:FUNC 'CURR:DC'", ":SENS:CURR:RANG:AUTO OFF", ":FORM:ELEM CURR,STAT",
        )  # fmt: skip
        self.check_errors("*RST")

    def _off(self) -> Sequence[str]:
        return (":ABOR", ":SOUR:VOLT:MODE FIX", ":SOUR:VOLT:LEV 0", ":OUTP OFF")

    def _output_queries(self) -> Sequence[str]:
        return (":OUTP?",)

    def _begin_commands(self) -> Sequence[str]:
        return () if self._loaded is None else (":OUTP ON", ":INIT")

    def _end_commands(self) -> Sequence[str]:
        # *WAI keeps what follows until the sweep is back in idle.
        return ("*WAI", ":SOUR:VOLT:MODE FIX", ":SOUR:VOLT:LEV 0", ":OUTP OFF")

    # -- runs ------------------------------------------------------------------------------

    def _lowered(self, programs: Mapping[str, ChannelSteps]) -> tuple[Delivered, GridList]:
        check_shared(programs, self.name)
        for channel in programs:
            self._own(channel)
        steps = next(iter(programs.values()))
        can = self.channel_capabilities("1")
        range_v = can.range_for_v(float(np.abs(steps.level_v).max()))
        d = quantise(steps, can, f"{self.name}.1", level_resolution_v=2.5e-5 * range_v)
        grid = grid_lists({"1": d}, grid_s=1e-3, shortest_unit_s=2e-3, longest_list=_LIST,
                          most_points=_POINTS, name=self.name)["1"]  # fmt: skip
        lowest, highest = 0.01 / self._line_hz, 10 / self._line_hz
        room = min(grid.unit_s - cast(Settings, self.settings).point_overhead, highest)
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
        """Return five messages: load, start, done, errors, readings."""
        _, grid = self._lowered(programs)
        steps = next(iter(programs.values()))
        return RunEstimate(4 + bool(steps.n_readings), steps.duration_s + 60e-3, True,
                           f"{grid.n_points} list points of {grid.unit_s:g} s")  # fmt: skip

    def load(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> Mapping[str, Delivered]:
        """Send the list, its pace and the buffer size in one message."""
        self._software_only(sync)
        d, grid = self._lowered(programs)
        can = self.channel_capabilities("1")
        range_v = can.range_for_v(float(np.abs(d.level_v).max()))
        overhead = cast(Settings, self.settings).point_overhead
        delay = max(0.0, grid.unit_s - d.aperture_s - overhead)
        # A range above the protection's is refused, and a protection far below the range: the
        # output is off, so that the protection may be wide open while the range changes.
        self._send(
            f":SOUR:VOLT:RANG {number(range_v)}",
            f":SENS:CURR:PROT {number(can.compliance_a.max)}",
            f":SENS:CURR:RANG {number(d.range_a)}",
            f":SENS:CURR:PROT {number(d.compliance_a)}",
            f":SENS:CURR:NPLC {number(d.aperture_s * self._line_hz)}",
            f":SOUR:DEL {number(round(delay, 5))}",
            f":SOUR:LIST:VOLT {numbers(grid.levels_v)}",
            ":SOUR:VOLT:MODE LIST",
            ":ARM:COUN 1", f":TRIG:COUN {grid.n_points}",
            ":TRAC:CLE", f":TRAC:POIN {grid.n_points}",
            ":TRAC:FEED SENS", ":TRAC:FEED:CONT NEXT",
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
        # At most 2 x 14 characters a reading; RS-232 at 57 600 baud moves 5.7 kB/s.
        text = self.session.query(":TRAC:DATA?", SHORT_TIMEOUT_S + grid.n_points * 28 / 5e3)
        found = text.count(",") + 1 if text.strip() else 0
        values = parse_numbers(text, found, self.session.address).reshape(-1, 2)
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
        width = math.ceil((aperture + 2e-3) * 1e3) / 1e3
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
    limited = (values[there, 1].astype(np.int64) & _COMPLIANCE) != 0
    status[limited] |= np.uint32(Status.I_COMPLIANCE)
    taken = np.ones(len(grid.pulse_point), dtype=np.bool_)
    return channel_readings(d, taken, current, status, int(Status.I_COMPLIANCE))
