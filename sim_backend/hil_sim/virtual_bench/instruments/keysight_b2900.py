"""Keysight B2901A/02A/11A/12A source-measure units (B2910-90030): SCPI, list sweep, pulses."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench.engine import Timer
from hil_sim.virtual_bench.instruments.keysight_b2900_table import (
    ELEMENTS,
    MAX_LIST,
    MAX_READINGS,
    add_commands,
)
from hil_sim.virtual_bench.instruments.keysight_b2900_trace import TraceBuffers
from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.scpi import ScpiPersonality
from hil_sim.virtual_bench.scpi_smu import LINE_HZ, Record, Shape, SmuChannel
from hil_sim.virtual_bench.scpi_values import (
    ScpiError,
    boolean,
    channel_list,
    definite_block,
    keyword,
    numbers,
    real,
    text,
)
from hil_sim.virtual_bench.terminal import OffMode, SourceMeter

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_AMPS: Final = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1.5, 3.0)
METER: Final = SourceMeter((0.2, 2.0, 20.0, 200.0), _AMPS, 2e5, 1e6, 1.05, 9.91e37)
# Status word, SCPI command reference table 1-2: bits 1-2 compliance, 13 range overflow.
_SOURCES_CURRENT, _COMPLIANCE, _OVERFLOW = 1, 2, 1 << 13
# Off, B2910-90010 table 6-1: the relay opens but for ZERO, which is 0 V behind 100 uA.
_MODES: Final[dict[str, OffMode]] = {"NORM": "high-z", "ZERO": "zero", "HIZ": "high-z"}
_OFF_LIMIT_A: Final = 1e-4
# Without its interlock the output gives no more (B2900A configuration guide p. 2-14).
_CEILING_V: Final = 42.0
# Condition bits of ch 1 and 2: transition idle, acquisition idle (status system chapter).
_IDLE_BITS: Final = {1: (1 << 1) | (1 << 4), 2: (1 << 7) | (1 << 10)}
# Waiting for a transition arm, waiting for an acquire arm.
_ARM_BITS: Final = {1: (1 << 3) | (1 << 6), 2: (1 << 9) | (1 << 12)}


class KeysightB2900(ScpiPersonality):
    """Two channels, ``1`` and ``2`` (one on 01 and 11 models)."""

    driver: ClassVar[str] = "keysight-b2900"
    default_model: ClassVar[str] = "B2902A"

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        self.listed: dict[int, NDArray[np.float64]] = {}
        self.traces = TraceBuffers(self)
        self.elements: tuple[str, ...] = ELEMENTS[:5]
        super().__init__(bench, name, settings)
        count = 1 if self.model in ("B2901A", "B2911A", "B2901B", "B2911B") else 2
        self.smus = {n: SmuChannel(self, str(n), METER) for n in range(1, count + 1)}
        self.timing = {n: [bench.engine.new_event() for _ in range(4)] for n in self.smus}
        for n, smu in self.smus.items():
            self.terminals[str(n)] = smu.terminal
        self._set_up()

    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""
        return f"Keysight Technologies,{self.model},{self.serial},3.4.2011.5100"

    def format_number(self, value: float) -> str:
        """Return a number as the instrument writes it."""
        return f"{value:+.8E}"

    def add_commands(self) -> None:
        """Add the command table."""
        add_commands(self)

    def _put_layer(self, names: tuple[str, ...], key: str, parse: Any, n: int,
                   parameters: list[str]) -> None:  # fmt: skip
        self.smu(n)
        if not parameters:
            raise ScpiError(-109, "Missing parameter")
        for name in names:
            self.values[key.format(name), (n,)] = parse(parameters[0])

    def _get_layer(self, key: str, n: int, _: list[str]) -> Any:
        return self.value(key, n)

    # Settings.

    def smu(self, n: int) -> SmuChannel:
        """Return a channel; -114 when there is none."""
        if n not in self.smus:
            raise ScpiError(-114, "Header suffix out of range")
        return self.smus[n]

    def _set_up(self) -> None:
        self.listed.clear()
        self.traces.reset()
        self.elements = ELEMENTS[:5]
        for n, smu in self.smus.items():
            smu.reset(1e-4, 2.0)
            self._apply(n)

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self._set_up()

    def _apply(self, n: int) -> None:
        smu = self.smu(n)
        terminal = smu.terminal
        terminal.off_mode = _MODES[self.value("off mode", n)]
        terminal.off_limit_a = _OFF_LIMIT_A
        terminal.sources_current = self.value("func", n) == "CURR"
        terminal.limit_a = abs(self.value("prot CURR", n))
        terminal.limit_v = abs(self.value("prot VOLT", n))
        auto = self.value("sense auto CURR", n)
        terminal.range_a = None if auto else smu.range_a(self.value("sense range CURR", n))
        if self.value("auto VOLT", n):
            terminal.range_v = smu.range_v(self.value("level VOLT", n))
        terminal.level_a = self.value("level CURR", n)
        terminal.set_level_v(self.value("level VOLT", n))

    def watch_interlock(self) -> None:
        """Limit outputs while the interlock is open; one that is above goes to 0 V and off.

        The emergency error number of the manual is not known here, so that none is queued; the
        questionable condition register says that the circuit is open.
        """
        for n, smu in self.smus.items():
            terminal, is_open = smu.terminal, self.faults.interlock_open
            if is_open and math.isinf(terminal.ceiling_v) and terminal.on:
                above = abs(terminal.level_v) > _CEILING_V
                terminal.on = terminal.on and not above
                self.values["level VOLT", (n,)] = 0.0 if above else terminal.level_v
                self._apply(n)
            terminal.ceiling_v = _CEILING_V if is_open else math.inf

    def _level(self, key: str, n: int) -> None:
        terminal = self.smu(n).terminal
        level = self.value(f"level {key}", n)
        fixed = key == "VOLT" and not self.value("auto VOLT", n)
        if fixed and abs(level) > terminal.range_v * METER.overrange:
            self.values["level VOLT", (n,)] = terminal.level_v
            raise ScpiError(-222, "Data out of range")
        self._apply(n)

    def _range(self, key: str, n: int) -> None:
        self.values[f"auto {key}", (n,)] = False
        if key == "VOLT":
            smu = self.smu(n)
            smu.terminal.range_v = smu.range_v(self.value("range VOLT", n))

    def _sense_range(self, key: str, n: int) -> None:
        self.values[f"sense auto {key}", (n,)] = False
        self._apply(n)

    def _nplc(self, n: int, parameters: list[str]) -> None:
        if not parameters:
            raise ScpiError(-109, "Missing parameter")
        self.values["aperture", (n,)] = real(4e-4, 100.0)(parameters[0]) / LINE_HZ

    def _output(self, n: int, parameters: list[str]) -> None:
        smu = self.smu(n)
        smu.switch(boolean(parameters[0] if parameters else ""))

    def _functions(self, n: int, parameters: list[str]) -> None:
        parse = keyword("VOLTage", "CURRent", "RESistance")
        self.values["functions", (n,)] = {
            parse(text(p).upper().removesuffix(":DC")) for p in parameters
        }  # fmt: skip

    def _functions_query(self, n: int, _: list[str]) -> str:
        return ",".join(f'"{f}"' for f in sorted(self.value("functions", n)))

    def _list(self, n: int, parameters: list[str]) -> None:
        self.smu(n)
        self.listed[n] = numbers(-210.0, 210.0, MAX_LIST)(parameters)

    def _append(self, n: int, parameters: list[str]) -> None:
        more = numbers(-210.0, 210.0, MAX_LIST)(parameters)
        both = np.concatenate([self.listed.get(n, np.empty(0)), more])
        if both.size > MAX_LIST:
            raise ScpiError(-223, "Too much data")
        self.listed[n] = both

    def _list_query(self, n: int, _: list[str]) -> str:
        return ",".join(self.format_number(float(v)) for v in self.listed.get(n, np.zeros(1)))

    def _put_elements(self, parameters: list[str]) -> None:
        parse = keyword("VOLTage", "CURRent", "RESistance", "TIME", "STATus", "SOURce")
        chosen = {parse(p) for p in parameters}
        self.elements = tuple(e for e in ELEMENTS if e in chosen)

    def _format(self, parameters: list[str]) -> None:
        kind = keyword("ASCii", "REAL")(parameters[0] if parameters else "")
        width = int(real(32, 64)(parameters[1])) if len(parameters) > 1 else 64
        if width not in (32, 64):
            raise ScpiError(-224, "Illegal parameter value")
        self.values["format", ()] = "ASC" if kind == "ASC" else f"REAL,{width}"

    def _channels(self, parameters: list[str]) -> list[int]:
        if not parameters:
            return list(self.smus)
        entries = channel_list(parameters[-1])
        out: list[int] = []
        for entry in entries:
            first, _, last = entry.partition(":")
            if not (first.isdigit() and (last or first).isdigit()):
                raise ScpiError(-224, "Illegal parameter value")
            out.extend(range(int(first), int(last or first) + 1))
        for n in out:
            self.smu(n)
        return out

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
