"""ArC ONE: an array board on a serial line, written from its published clients and user's guide.

Sources: libarc1 (``packets.py``, ``arc.py``, ``modules/``), arc1_pyqt (``instrument.py``,
``ProgPanels/MultiBias.py``) and the user's guide (``manual.txt``, ``read-tia.svg``) of ArC
Instruments. What the firmware does with a command that is wrong is not published; here an unknown
one is ignored, text that is no number is 0, and a device that the board does not have is open.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import ConfigError
from hil.program import LineState, Phase, PulseBlock
from hil_sim.virtual_bench.latencies import MESSAGE
from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.stream import StreamPersonality
from hil_sim.virtual_bench.terminal import SourceMeter, Terminal

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_LINES: Final = 32
_NUMBER: Final = re.compile(r"\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?)")
_SAMPLE_S: Final = 5e-6  # 200 ksps, user's guide, "Volatility Read"
_CLASSIC_V: Final = 0.5  # user's guide, "Read operation": reads only at 0.5 V
_CLASSIC: Final = 0
#: Share of the pulse on unselected lines, by the sneak path setting; user's guide, "Sneak Path".
_INHIBIT: Final = {0: 1 / 3, 1: 1 / 2}
#: Lines after the first, by command; None = their number depends on what they say.
_ARGUMENTS: Final[dict[str, int | None]] = {
    "00": 0, "999": 0, "0": 7, "01": 2, "02": 2, "04": 2, "1": 2, "2": None, "3": 4, "50": None,
    "201": None,
}  # fmt: skip
_METER: Final = SourceMeter((12.0,), (1.0,), 1e9, 1e9, 1.0, math.inf)


class ArcOne(StreamPersonality):
    """The board. Options besides those of every instrument:

    ``firmware_major``, ``firmware_minor``: what it answers; ``drop_faster_s``: commands that come
    sooner after the one before are lost, 0 = none.
    """

    driver: ClassVar[str] = "arc-one"
    default_model: ClassVar[str] = "ArC ONE"
    settings_known: ClassVar[frozenset[str]] = StreamPersonality.settings_known | {
        "firmware_major", "firmware_minor", "drop_faster_s",
    }  # fmt: skip

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        super().__init__(bench, name, settings)
        if bench.station.twin.imperfect:
            raise ConfigError("the emulated ArC ONE has no errors of sources and meters",
                              field="twin.imperfect")  # fmt: skip
        self._names = [f"{side}{k}" for side in "wb" for k in range(_LINES)]
        self.terminals = {line: Terminal(name, line, _METER) for line in self._names}
        self.dropped = 0  #: bytes of commands that came too early
        self.pulses: list[tuple[int, int, float, float]] = []  #: word, bit, volts, seconds
        self.reads = 0
        self.commands: list[tuple[str, ...]] = []  #: taken since power on
        self._last_s = -math.inf
        self._buffer = bytearray()
        self.reset()

    def reset(self) -> None:
        """Restart the controller: no set-up, no device selected, nothing half read."""
        super().reset()
        for terminal in self.terminals.values():
            terminal.off_mode = "high-z"
        self.initialised = False
        self.selected: tuple[int, int] | None = None
        self.words = self.bits = _LINES
        self.cycles, self.mode, self.inhibit, self.read_v = 1, _CLASSIC, 0.5, _CLASSIC_V
        self._lines: list[str] = []

    # -- bytes -----------------------------------------------------------------------------

    def tick(self) -> bytes:
        """Nothing is due by the clock."""
        return b""

    def receive(self, data: bytes) -> bytes:
        """Take bytes; return the answers to the commands that they complete."""
        with self.bench.changed:
            limit_s = float(self.settings.get("drop_faster_s", 0.0))
            now_s = time.monotonic()
            early = now_s - self._last_s < limit_s
            self._last_s = now_s
            if early:
                self.dropped += len(data)
                return b""
            self._buffer += data
            out = b""
            taken = 0
            while (end := self._buffer.find(b"\n")) >= 0:
                line = self._buffer[:end].decode("latin-1").strip("\r")
                del self._buffer[: end + 1]
                self._lines.append(line)
                if not self._complete():
                    continue
                if limit_s and taken:
                    self.dropped += sum(map(len, self._lines))
                    self._lines = []
                    continue
                taken += 1
                out += self._command()
            return out

    def _complete(self) -> bool:
        lines = self._lines
        count = _ARGUMENTS.get(lines[0], 0)
        if count is None:
            count = self._count(lines)
        return len(lines) > count

    def _count(self, lines: list[str]) -> int:
        """Return how many lines follow the first one, as far as is known."""
        if lines[0] == "2":
            if len(lines) < 2 or _integer(lines[1]) != 2:
                return 3
            return 4 + 2 * _integer(lines[4]) if len(lines) > 4 else 4
        if lines[0] == "50":
            return 6 + _integer(lines[4]) if len(lines) > 4 else 6
        return 13 + 2 * _integer(lines[13]) if len(lines) > 13 else 13

    def _command(self) -> bytes:
        lines, self._lines = self._lines, []
        faults = self.faults
        self._inject("\n".join(lines).encode("latin-1"), faults)
        self.commands.append(tuple(lines))
        self.settle(MESSAGE)
        reply = None if faults.mute else self._obey(lines[0], lines[1:])
        return self._spoil(reply, faults) or b""

    def _obey(self, job: str, rest: list[str]) -> bytes | None:
        if job == "00":
            self.reset()
            return None
        if job == "999":
            version = [int(self.settings.get(f"firmware_{part}", default))
                       for part, default in (("major", 2), ("minor", 1))]  # fmt: skip
            return np.array(version, dtype="<u2").tobytes()
        if job == "0":
            return self._initialise(rest)
        if not self.initialised:
            return None
        jobs: dict[str, Callable[[list[str]], bytes | None]] = {
            "01": self._set_read, "02": self._select, "04": self._pulse_selected,
            "1": self._read_one, "2": self._read_many, "3": self._pulse_read,
            "50": self._multi_bias, "201": self._curve,
        }  # fmt: skip
        return jobs[job](rest) if job in jobs else None

    # -- commands --------------------------------------------------------------------------

    def _initialise(self, rest: list[str]) -> bytes:
        self.cycles, self.words, self.bits, self.mode, _, sneak = map(_integer, rest[:6])
        self.read_v = _number(rest[6])
        self.inhibit = _INHIBIT.get(sneak, 0.5)
        self.words, self.bits = min(self.words, _LINES), min(self.bits, _LINES)
        self.initialised, self.selected = True, None
        return b"1\n"

    def _set_read(self, rest: list[str]) -> None:
        self.mode, self.read_v = _integer(rest[0]), _number(rest[1])

    def _select(self, rest: list[str]) -> None:
        self.selected = _integer(rest[0]), _integer(rest[1])

    def _pulse_selected(self, rest: list[str]) -> None:
        if self.selected is not None:
            self._pulse(*self.selected, _number(rest[0]), _number(rest[1]))

    def _read_one(self, rest: list[str]) -> bytes:
        self.selected = None
        return self._resistances([(_integer(rest[0]), _integer(rest[1]))])

    def _read_many(self, rest: list[str]) -> bytes:
        kind, words, bits = map(_integer, rest[:3])
        if kind == 2:
            pairs = [_integer(text) for text in rest[4:]]
            return self._resistances(list(zip(pairs[::2], pairs[1::2], strict=True)))
        return self._resistances([(w, b) for w in range(1, words + 1) for b in range(1, bits + 1)])

    def _pulse_read(self, rest: list[str]) -> bytes:
        word, bit = _integer(rest[0]), _integer(rest[1])
        self._pulse(word, bit, _number(rest[2]), _number(rest[3]))
        return self._resistances([(word, bit)])

    def _multi_bias(self, rest: list[str]) -> bytes:
        """Pulse or read several words on one bit; the words not chosen are at V/2, or at 0 V."""
        write_v, width_s, read_v = map(_number, rest[:3])
        bit, action = _integer(rest[4]), _integer(rest[5])
        words = [_integer(text) for text in rest[6:]]
        if action == 1:
            current = self._current([(w, bit) for w in words], read_v)
            ohm = math.inf if current == 0.0 else read_v / current
            return np.array([ohm, read_v, 0.0], dtype="<f4").tobytes()
        every = [(w, bit) for w in range(1, self.words + 1)]
        before = self._triplets(every)
        self._drive(words, bit, write_v, write_v / 2, width_s, sense=False)
        return before + self._triplets(every)

    def _triplets(self, cells: list[tuple[int, int]]) -> bytes:
        rows = [[self._ohm(*cell), self.read_v, 0.0] for cell in cells]
        return np.array(rows, dtype="<f4").tobytes()

    def _curve(self, rest: list[str]) -> bytes:
        """Sweep every device up and down, resistance at each level; ends with a zero triplet."""
        top, bottom, start, step, hold_s = map(_number, rest[:5])
        cycles, span = _integer(rest[8]), _integer(rest[10])
        pairs = [_integer(text) for text in rest[13:]]
        signs = {0: (1, -1), 1: (-1, 1), 2: (1,), 3: (-1,)}.get(span, (1, -1))
        rows: list[list[float]] = []
        for word, bit in zip(pairs[::2], pairs[1::2], strict=True):
            for _ in range(cycles):
                for sign in signs:
                    most = abs(top) if sign > 0 else abs(bottom)
                    up = [start + k * step for k in range(int((most - start) / step + 1.5e-9) + 1)]
                    for volts in [sign * v for v in [*up, *up[-2::-1]]]:
                        self._pulse(word, bit, volts, hold_s)
                        rows.append([self._ohm(word, bit, volts), volts, hold_s])
                rows.append([0.0, 0.0, 0.0])
        return np.array(rows, dtype="<f4").tobytes()

    # -- the array -------------------------------------------------------------------------

    def _resistances(self, cells: list[tuple[int, int]]) -> bytes:
        return np.array([self._ohm(*cell) for cell in cells], dtype="<f4").tobytes()

    def _ohm(self, word: int, bit: int, volts: float | None = None) -> float:
        """Read one device: its word at the read voltage, all else at 0 V, its bit measured."""
        at = _CLASSIC_V if self.mode == _CLASSIC else self.read_v
        at = at if volts is None else volts
        current = self._current([(word, bit)], at)
        return math.inf if current == 0.0 else at / current

    def _current(self, cells: list[tuple[int, int]], volts: float) -> float:
        """Return the true current in amperes out of one bit whose words are at ``volts``."""
        self.reads += 1
        words = [word for word, _ in cells]
        seconds = max(self.cycles, 1) * _SAMPLE_S
        return self._drive(words, cells[0][1], volts, 0.0, seconds, sense=True)

    def _pulse(self, word: int, bit: int, volts: float, width_s: float) -> None:
        self.pulses.append((word, bit, volts, width_s))
        self._drive([word], bit, volts, volts * self.inhibit, width_s, sense=False)

    def _drive(
        self, words: list[int], bit: int, volts: float, rest_v: float, width_s: float, *,
        sense: bool,
    ) -> float:  # fmt: skip
        """Hold words at ``volts``, a bit at 0 V, the rest at ``rest_v``; return its current."""
        if width_s <= 0.0:
            return 0.0
        chosen = [node for w in words if (node := self._node("w", w)) is not None]
        ground = self._node("b", bit)
        if not chosen or ground is None:
            self.bench.dwell(width_s)
            return 0.0
        number = ground[0]
        array = self.bench.physics.arrays[number]
        n_lines = array.geometry.n_lines
        level = np.full(n_lines, rest_v)
        level[[line for where, line in chosen if where == number]] = volts
        level[ground[1]] = 0.0
        senses: NDArray[np.bool_] = np.zeros((1, n_lines), dtype=np.bool_)
        senses[0, ground[1]] = sense
        state = np.where(level != 0.0, LineState.DRIVE, LineState.GROUND).astype(np.uint8)
        block = PulseBlock.build(
            Phase.READ if sense else Phase.UPDATE, state[None], level[None], width_s, sense=senses
        )
        array.clock_ns = self.bench.clock_ns
        readings = array.run(block, block.n_readings)
        self.bench.dwell(width_s)
        return -float(readings.current_a[0]) if sense else 0.0

    def _node(self, side: str, number: int) -> tuple[int, int] | None:
        """Return (array, line) of a word or bit counted from 1; None where nothing is."""
        most = self.words if side == "w" else self.bits
        if not 1 <= number <= most:
            return None
        nodes = self.bench.network.lines_of(self.terminals[f"{side}{number - 1}"])
        return nodes[0] if nodes else None


def _number(text: str) -> float:
    """Return the number that a text begins with, as C does; 0 without one."""
    match = _NUMBER.match(text)
    return float(match.group()) if match else 0.0


def _integer(text: str) -> int:
    """Return the whole number that a text begins with; 0 without one."""
    return int(_number(text))
