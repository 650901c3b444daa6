"""Keysight B2901A/02A/11A/12A source-measure units (B2910-90030): SCPI, list sweep, pulses."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench.engine import Timer
from hil_sim.virtual_bench.instruments.keysight_b2900_settings import B2900Settings
from hil_sim.virtual_bench.instruments.keysight_b2900_table import MAX_READINGS, add_commands
from hil_sim.virtual_bench.instruments.keysight_b2900_trace import TraceBuffers
from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.scpi_smu import Record, Shape
from hil_sim.virtual_bench.scpi_values import ScpiError, definite_block

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

# Status word, SCPI command reference table 1-2: bits 1-2 compliance, 13 range overflow.
_SOURCES_CURRENT, _COMPLIANCE, _OVERFLOW = 1, 2, 1 << 13
# Condition bits of ch 1 and 2: transition idle, acquisition idle (status system chapter).
_IDLE_BITS: Final = {1: (1 << 1) | (1 << 4), 2: (1 << 7) | (1 << 10)}
# Waiting for a transition arm, waiting for an acquire arm.
_ARM_BITS: Final = {1: (1 << 3) | (1 << 6), 2: (1 << 9) | (1 << 12)}


class KeysightB2900(B2900Settings):
    """Two channels, ``1`` and ``2`` (one on 01 and 11 models)."""

    driver: ClassVar[str] = "keysight-b2900"
    default_model: ClassVar[str] = "B2902A"
    setups: ClassVar[int] = 5

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        self.traces = TraceBuffers(self)
        super().__init__(bench, name, settings)
        self.timing = {n: [bench.engine.new_event() for _ in range(4)] for n in self.smus}

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self.traces.reset()

    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""
        return f"Keysight Technologies,{self.model},{self.serial},3.4.2011.5100"

    def format_number(self, value: float) -> str:
        """Return a number as the instrument writes it."""
        return f"{value:+.8E}"

    def add_commands(self) -> None:
        """Add the command table."""
        add_commands(self)

    # Running.

    def _levels(self, n: int, count: int) -> NDArray[np.float64]:
        mode = self.value("mode VOLT", n)
        if mode == "LIST":
            return np.resize(self.listed.get(n, np.zeros(1)), count)
        if mode == "SWE":
            steps = self.value("points VOLT", n)
            ramp = np.linspace(self.value("STARt VOLT", n), self.value("STOP VOLT", n), steps)
            return np.resize(ramp, count)
        triggered = self.values.get(("triggered VOLT", (n,)))
        level = self.value("level VOLT", n) if triggered is None else triggered
        return np.full(count, level)

    def _initiate(self, parameters: list[str]) -> None:
        timers: list[Timer] = []
        wires: list[tuple[int, int]] = []
        for n in self._channels(parameters):
            smu = self.smu(n)
            if not smu.terminal.on:
                smu.switch(True)
            smu.records.clear()
            count = self.value("TRAN COUNt", n)
            if count * self.value("arm TRAN COUNt", n) > MAX_READINGS:
                raise ScpiError(-221, "Settings conflict")
            levels = self._levels(n, count)
            if self.value("auto VOLT", n):
                smu.terminal.range_v = smu.range_v(float(np.abs(levels).max(initial=0.0)))
            smu.start(levels, self.value("arm TRAN COUNt", n), self._shape(n, count, timers),
                      partial(self.traces.keep, n))  # fmt: skip
            if self.value("arm tout", n):
                wires.append((smu.events[0], self._external("arm tout line", n)))
        self.bench.engine.timers[self.name] = timers
        self.bench.engine.wires[self.name] = wires

    def _external(self, key: str, n: int) -> int:
        """Return the event of ``BUS`` or ``EXTn`` sources, 0 for internal ones."""
        source = str(self.value(key, n))
        if source.startswith("EXT"):
            return self.bench.bus[int(source[3:])]
        return self._bus_event() if source == "BUS" else 0

    def _bus_event(self) -> int:
        return self.bench.bus[0]

    def _shape(self, n: int, count: int, timers: list[Timer]) -> Shape:
        """Return the timing of one channel; adds the timers that give its stimuli."""
        smu = self.smu(n)
        aperture = float(self.value("aperture", n))
        pulsed = self.value("shape", n) == "PULS"
        source_at = self.value("TRAN DELay", n) + (self.value("pulse delay", n) if pulsed else 0.0)
        measure_at = self.value("ACQ DELay", n)
        width = float(self.value("pulse width", n)) if pulsed else 0.0
        tick, sourced, measured, ended = self.timing[n]
        begin = smu.events[0]
        trigger = self._external("TRAN SOURce", n)
        if trigger:
            timers.append(Timer(trigger, tick, (0.0,), 1))
        elif count > 1:
            period = float(self.value("TRAN TIMer", n))
            if self.value("TRAN SOURce", n) != "TIM":
                # Automatic: the next trigger comes when both layers are done.
                period = max(source_at + width, measure_at + aperture, 1e-5)
            timers.append(Timer(begin, tick, (period,), count - 1, passthrough=True))
        else:
            timers.append(Timer(begin, tick, (0.0,), 1))
        timers.append(Timer(tick, sourced, (source_at,), 1))
        timers.append(Timer(tick, measured, (max(measure_at, 1e-12),), 1))
        end = 0
        if pulsed:
            end = ended
            timers.append(Timer(sourced, end, (width,), 1))
        return Shape(0.0, aperture, 0.0, pulsed, True,
                     (self._external("arm TRAN SOURce", n), sourced, measured, end),
                     pulsed)  # fmt: skip

    @property
    def all_idle(self) -> bool:
        """Whether no channel is initiated."""
        return all(smu.idle for smu in self.smus.values())

    def finish(self) -> None:
        """Wait for all channels to be idle."""
        self.bench.wait_until(self, lambda: self.all_idle)

    def trigger(self) -> None:
        """``*TRG``: the bus trigger."""
        self.bench.engine.fire(self._bus_event())
        self.bench.changed.notify_all()

    def _stop(self, parameters: list[str]) -> None:
        ids = {id(self.smu(n).terminal) for n in self._channels(parameters)}
        self.bench.engine.abort(ids)

    def _idle(self, parameters: list[str]) -> str:
        del parameters
        self.finish()
        return "1"

    def _condition(self) -> int:
        self.bench.run(self)
        return sum(
            _IDLE_BITS[n] * smu.idle | _ARM_BITS[n] * smu.waits_for_arm
            for n, smu in self.smus.items()
        )

    def _tripped(self, n: int, _: list[str]) -> str:
        smu = self.smu(n)
        return str(int(smu.terminal.on and smu.spot(1e-6).limited))

    def _measure(self, parameters: list[str], elements: tuple[str, ...]) -> str | bytes:
        values: list[float] = []
        for n in self._channels(parameters):
            smu = self.smu(n)
            if not smu.terminal.on:
                smu.switch(True)
            smu.records[:] = [smu.spot(self.value("aperture", n))]
            values.extend(self._row(n, smu.records[-1], elements))
        return self._encoded(values)

    def _read(self, parameters: list[str]) -> str | bytes:
        self._initiate(parameters)
        self.finish()
        return self._fetch(parameters, self.elements)

    def _fetch(
        self, parameters: list[str], elements: tuple[str, ...], last: bool = False
    ) -> str | bytes:  # fmt: skip
        self.finish()
        channels = self._channels(parameters)
        columns = [self.smu(n).records for n in channels]
        if not all(columns):
            raise ScpiError(-230, "Data corrupt or stale")
        rows = max(len(c) for c in columns)
        values: list[float] = []
        for k in range(rows - 1 if last else 0, rows):
            for n, column in zip(channels, columns, strict=True):
                if k < len(column):
                    values.extend(self._row(n, column[k], elements))
                else:
                    values.extend([9.91e37] * len(elements))
        return self._encoded(values)

    def _row(self, n: int, record: Record, elements: tuple[str, ...]) -> list[float]:
        functions = self.value("functions", n)
        resists = "RES" in functions or elements == ("RES",)
        ohms = record.volts / record.amps if record.amps and resists else 9.91e37
        row = {
            "VOLT": record.volts, "CURR": record.amps, "RES": ohms, "TIME": record.time_s,
            "STAT": float(
                _OVERFLOW * record.overflow | _COMPLIANCE * record.limited
                | _SOURCES_CURRENT * self.smu(n).terminal.sources_current
            ),
            "SOUR": record.source,
        }  # fmt: skip
        return [row[e] for e in elements]

    def encoded(self, n: int, records: list[Record]) -> str | bytes:
        """Return records of a channel as a reply, elements as ``:FORM:ELEM:SENS`` says."""
        return self._encoded([v for r in records for v in self._row(n, r, self.elements)])

    def _encoded(self, values: list[float]) -> str | bytes:
        kind = self.value("format")
        if kind == "ASC":
            return ",".join(self.format_number(v) for v in values)
        order = "<" if self.value("border") == "SWAP" else ">"
        code = "f" if kind.endswith("32") else "d"
        return definite_block(struct.pack(f"{order}{len(values)}{code}", *values))
