"""What SCPI pulse generators share: levels, pulses, bursts, waveforms, triggers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench.generator import GeneratorChannel
from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.scpi import ScpiPersonality
from hil_sim.virtual_bench.scpi_values import (
    ScpiError,
    block_payload,
    boolean,
    keyword,
    number,
    numbers,
    real,
    text,
)

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_EXTERNAL_ARMS = 4096


class PulseGenerator(ScpiPersonality):
    """Two channels, ``1`` and ``2``; the headers differ by maker and are a subclass's."""

    top_v: ClassVar[float]  #: largest open-circuit level
    dac_top: ClassVar[int]
    loads_ohm: ClassVar[tuple[float, float]]
    min_width_s: ClassVar[float]
    min_period_s: ClassVar[float]
    functions: ClassVar[tuple[str, ...]]
    arbitrary_name: ClassVar[str]  #: short form of the function that plays a waveform

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        super().__init__(bench, name, settings)
        self.outs = {n: GeneratorChannel(self, str(n), self.top_v) for n in (1, 2)}
        self.waveforms: dict[tuple[int, str], NDArray[np.float64]] = {}
        for n, out in self.outs.items():
            self.terminals[str(n)] = out.terminal
        self.trigger_in = bench.bus[int(self.settings.get("trigger_in", 1))]
        self.publish()

    def out(self, n: int) -> GeneratorChannel:
        """Return a channel.

        Raises:
            ScpiError: -114, there is none.
        """
        if n not in self.outs:
            raise ScpiError(-114, "Header suffix out of range")
        return self.outs[n]

    def check_suffixes(self, header: str, suffixes: tuple[int, ...]) -> None:
        """Refuse a third channel."""
        if any(n not in self.outs for n in suffixes):
            raise ScpiError(-114, "Header suffix out of range")

    def publish(self) -> None:
        """Put sync outputs on the trigger bus where the bench's options ask for it."""
        line = int(self.settings.get("trigger_out", 0))
        wires = [(out.events[1], self.bench.bus[line]) for out in self.outs.values()]
        self.bench.engine.wires[self.name] = wires if line else []

    def reset(self) -> None:
        """``*RST``: outputs off, 100 mVpp, no waveforms."""
        super().reset()
        for out in self.outs.values():
            out.reset()
        self.waveforms.clear()

    def snapshot(self) -> Any:
        """Return the settings that ``*SAV`` keeps; waveforms in memory are none."""
        return super().snapshot(), {n: out.settings() for n, out in self.outs.items()}

    def restore(self, state: Any) -> None:
        """``*RCL``: outputs off, settings of before."""
        values, outs = state
        super().restore(values)
        for n, settings in outs.items():
            self.outs[n].recall(settings)
            self._refresh(n)

    # Levels.

    @staticmethod
    def _one(parameters: list[str]) -> str:
        if len(parameters) != 1:
            raise ScpiError(
                -108 if parameters else -109,
                "Parameter not allowed" if parameters else "Missing parameter",
            )
        return parameters[0]

    def _volts(self, n: int, word: str) -> float:
        top = self.top_v / self.out(n).factor
        return float(real(-top, top)(word))

    def put_high(self, n: int, parameters: list[str]) -> None:
        """``VOLT:HIGH``."""
        self._put_levels(n, self._volts(n, self._one(parameters)), None)

    def put_low(self, n: int, parameters: list[str]) -> None:
        """``VOLT:LOW``."""
        self._put_levels(n, None, self._volts(n, self._one(parameters)))

    def put_amplitude(self, n: int, parameters: list[str]) -> None:
        """``VOLT`` in volts peak to peak."""
        out = self.out(n)
        span = real(0.0, 2 * self.top_v / out.factor)(self._one(parameters))
        middle = out.shown(out.open_high_v + out.open_low_v) / 2
        self._put_levels(n, middle + span / 2, middle - span / 2)

    def put_offset(self, n: int, parameters: list[str]) -> None:
        """``VOLT:OFFSet``."""
        out = self.out(n)
        half = out.shown(out.open_high_v - out.open_low_v) / 2
        middle = self._volts(n, self._one(parameters))
        if self.value("func", n) == "DC":
            half = min(half, self.top_v / out.factor - abs(middle))
        self._put_levels(n, middle + half, middle - half)

    def _put_levels(self, n: int, high: float | None, low: float | None) -> None:
        out = self.out(n)
        new_high = out.shown(out.open_high_v) if high is None else high
        new_low = out.shown(out.open_low_v) if low is None else low
        conflict = new_high < new_low
        if conflict:
            # The level that was not asked for gives way, and the error queue says so.
            new_high, new_low = (new_low, new_low) if high is None else (new_high, new_high)
        top = self.top_v / out.factor * (1 + 1e-9)
        if abs(new_high) > top or abs(new_low) > top:
            raise ScpiError(-222, "Data out of range")
        self.check_levels(n, new_high, new_low)
        out.set_levels(new_high * out.factor, new_low * out.factor)
        self._refresh(n)
        if conflict:
            raise ScpiError(-221, "Settings conflict; amplitude has been adjusted")

    def check_levels(self, n: int, high: float, low: float) -> None:
        """Refuse levels beyond ``VOLT:LIM`` when that is on."""
        if self.value("limit", n) and (
            high > self.value("limit HIGH", n) or low < self.value("limit LOW", n)
        ):
            raise ScpiError(-222, "Data out of range; value clipped to voltage limit")

    def put_load(self, n: int, parameters: list[str]) -> None:
        """``OUTPut:LOAD``: displayed levels change, what comes out does not."""
        word = self._one(parameters).upper()
        endless = word in ("INF", "INFINITY", "MAX") or number(word) >= 9.9e37
        load = np.inf if endless else number(word)
        if not endless and not self.loads_ohm[0] <= load <= self.loads_ohm[1]:
            raise ScpiError(-222, "Data out of range")
        self.out(n).load_ohm = load

    def get_load(self, n: int, _: list[str]) -> float:
        """Return the load, 9.9E+37 for high impedance."""
        load = self.out(n).load_ohm
        return 9.9e37 if np.isinf(load) else load

    def put_output(self, n: int, parameters: list[str]) -> None:
        """``OUTPut``."""
        on = boolean(self._one(parameters))
        out = self.out(n)
        self._refresh(n)
        out.terminal.on = on
        if on and not self.value("burst", n) and self.value("func", n) != "DC":
            self.bench.note(
                f"{out.terminal.name} is on without a burst: a free-running waveform is not "
                "emulated, the output rests at its low level"
            )

    def _refresh(self, n: int) -> None:
        out = self.out(n)
        if self.value("func", n) == "DC":
            out.terminal.set_level_v((out.open_high_v + out.open_low_v) / 2)
        else:
            out.rest()

    # Pulses.

    def put_width(self, n: int, parameters: list[str]) -> None:
        """Pulse width."""
        out = self.out(n)
        width = real(self.min_width_s, 1e6)(self._one(parameters))
        if width > out.period_s:
            raise ScpiError(-221, "Settings conflict; pulse width has been limited by period")
        out.width_s = width

    def put_period(self, n: int, parameters: list[str]) -> None:
        """Pulse period; a longer width gives way."""
        out = self.out(n)
        out.period_s = real(self.min_period_s, 1e6)(self._one(parameters))
        if out.width_s > out.period_s:
            out.width_s = out.period_s
            raise ScpiError(-221, "Settings conflict; pulse width decreased due to period")

    def put_duty(self, n: int, parameters: list[str]) -> None:
        """Duty cycle in percent: sets the width."""
        duty = real(0.01, 99.99)(self._one(parameters))
        self.put_width(n, [repr(self.out(n).period_s * duty / 100.0)])

    def put_cycles(self, n: int, parameters: list[str]) -> None:
        """Cycles of a burst."""
        self.out(n).cycles = round(real(1, 1e6)(self._one(parameters)))

    def put_delay(self, n: int, parameters: list[str]) -> None:
        """Delay from trigger to burst."""
        self.out(n).delay_s = real(0.0, 1e3)(self._one(parameters))

    # Waveforms.

    def put_waveform(self, n: int, tail: bytes, scaled: bool) -> None:
        """``name, values``: DAC counts (``scaled`` False) or −1 … 1, as text or as a block."""
        name, _, rest = tail.partition(b",")
        rest = rest.lstrip()
        if rest.startswith(b"#"):
            order = "<" if self.value("border") == "SWAP" else ">"
            kind = order + ("f4" if scaled else "i2")
            payload = block_payload(rest)
            if len(payload) % np.dtype(kind).itemsize:
                raise ScpiError(-161, "Invalid block data")
            values = np.frombuffer(payload, dtype=kind).astype(np.float64)
        else:
            top = 1.0 if scaled else float(self.dac_top)
            words = [w for w in rest.decode("latin-1").split(",") if w.strip()]
            values = numbers(-top, top, 65_536)(words)
        if not scaled:
            if np.abs(values).max(initial=0.0) > self.dac_top:
                raise ScpiError(-222, "Data out of range")
            values = values / self.dac_top
        if values.size < 8:
            raise ScpiError(-222, "Data out of range; value clipped to lower limit of 8 points")
        self.out(n)
        self.waveforms[n, text(name.decode("latin-1").strip()).upper()] = values

    def samples(self, n: int, name: str) -> NDArray[np.float64]:
        """Return the open-circuit samples of a waveform at the present levels."""
        values = self.waveforms.get((n, name.upper()))
        if values is None:
            raise ScpiError(-224, "Illegal parameter value; waveform does not exist")
        out = self.out(n)
        middle = (out.open_high_v + out.open_low_v) / 2
        return middle + values * (out.open_high_v - out.open_low_v) / 2

    def catalog(self, n: int, _: list[str]) -> str:
        """Return the waveforms of a channel."""
        return ",".join(f'"{name}"' for k, name in self.waveforms if k == n) or '""'

    def choose_waveform(self, n: int, parameters: list[str]) -> None:
        """Choose the waveform that a channel plays."""
        name = text(self._one(parameters))
        self.samples(n, name)
        self.values["arb", (n,)] = name

    @abstractmethod
    def waveform_of(self, n: int) -> tuple[float, NDArray[np.float64]] | None:
        """Return (sample time, samples) of what a channel plays, None for pulses."""

    @abstractmethod
    def external(self, n: int) -> bool:
        """Whether a channel waits for the external trigger."""

    @abstractmethod
    def by_bus(self, n: int) -> bool:
        """Whether a channel waits for ``*TRG``."""

    # Running.

    def _ready(self, n: int) -> bool:
        return self.out(n).terminal.on and bool(self.value("burst", n))

    def before_run(self) -> None:
        """Arm the channels that wait for the external trigger."""
        for n, out in self.outs.items():
            waits = self._ready(n) and self.external(n)
            fresh = out.sweep is None or out.sweep.done or not out.sweep.within_arm
            if waits and fresh:
                out.arbitrary = self.waveform_of(n)
                out.arm(self.trigger_in, _EXTERNAL_ARMS)
            elif not waits and out.waits:
                out.waits = False
                self.bench.engine.abort({id(out.terminal)})

    def trigger(self) -> None:
        """``*TRG``: start the bursts that wait for it."""
        ready = [n for n in self.outs if self._ready(n) and self.by_bus(n)]
        if not ready:
            raise ScpiError(-211, "Trigger ignored")
        for n in ready:
            self.out(n).arbitrary = self.waveform_of(n)
            self.out(n).arm(0, 1)

    def finish(self) -> None:
        """Wait for the bursts to end."""
        self.bench.wait_until(self, lambda: all(out.idle for out in self.outs.values()))

    def format_number(self, value: float) -> str:
        """Return a number as the instrument writes it."""
        return f"{value:+.12E}"

    # Tables that both makers have, below their own headers.

    def add_levels(self, head: str) -> None:
        """Add ``HIGH``, ``LOW``, ``OFFSet``, amplitude and unit below ``head``."""
        self.add(f"{head}[:LEVel][:IMMediate]:HIGH", put=self.put_high,
                 get=lambda n, _: self.out(n).shown(self.out(n).open_high_v))  # fmt: skip
        self.add(f"{head}[:LEVel][:IMMediate]:LOW", put=self.put_low,
                 get=lambda n, _: self.out(n).shown(self.out(n).open_low_v))  # fmt: skip
        self.add(f"{head}[:LEVel][:IMMediate]:OFFSet", put=self.put_offset, get=self._offset)
        self.add(f"{head}[:LEVel][:IMMediate][:AMPLitude]", put=self.put_amplitude,
                 get=lambda n, _: self.out(n).shown(
                     self.out(n).open_high_v - self.out(n).open_low_v))  # fmt: skip
        self.setting(f"{head}:UNIT", "unit", keyword("VPP", "VRMS", "DBM"), "VPP")

    def _offset(self, n: int, _: list[str]) -> float:
        out = self.out(n)
        return out.shown(out.open_high_v + out.open_low_v) / 2

    def add_function(self, header: str) -> None:
        """Add the function shape."""
        parse = keyword(*self.functions)
        self.setting(header, "func", parse, parse("SIN"), partial(self._refresh))

    def add_pair(self, header: str, put: Any, attribute: str) -> None:
        """Add a command that sets and queries one attribute of a channel."""
        self.add(header, put=put, get=lambda n, _: getattr(self.out(n), attribute))
