"""What every TSP instrument has: its node, its error queue, formats, a timer, common commands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from hil_sim.virtual_bench.tsp.attributes import BAD_FORMAT, BAD_PRECISION

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.runtime import TspPersonality

SEVERITY = 20  # RECOVERABLE (2600BS-901-01 rev. C p. 7-92)
ASCII, REAL32, REAL64 = 1, 2, 3


def localnode(self: TspPersonality, more: dict[str, Any] | None = None) -> Any:
    """Return ``localnode``; ``more`` are flags of an instrument, by name."""
    self.flags.update(more or {})
    getters: dict[str, Callable[[], Any]] = {
        "model": lambda: self.model, "serialno": lambda: self.serial,
        "revision": self.version, "version": self.version, "linefreq": lambda: 50.0,
        "description": lambda: f"Keithley {self.model}",
    }  # fmt: skip
    setters: dict[str, Callable[[Any], None]] = {"linefreq": lambda _: None}
    for flag in self.flags:
        getters[flag] = partial(self.flags.__getitem__, flag)
        setters[flag] = partial(self.flags.__setitem__, flag)
    return self.object(getters, setters, {"reset": lambda: self.reset(), "ENABLE": 1,
                                          "DISABLE": 0})  # fmt: skip


def errorqueue(self: TspPersonality) -> Any:
    """Return ``errorqueue``."""

    def next_error() -> tuple[float, str, float, float]:
        if not self.errors:
            return 0.0, "Queue Is Empty", 0.0, 0.0
        code, text = self.errors.popleft()
        return float(code), text, float(SEVERITY), 1.0

    return self.object(
        {"count": lambda: len(self.errors)},
        objects={"next": next_error, "clear": lambda: self.errors.clear()},
    )


def format_object(self: TspPersonality) -> Any:
    """Return ``format``."""

    def set_data(value: float) -> None:
        if int(value) not in (ASCII, REAL32, REAL64):
            self.post_error(BAD_FORMAT, "Invalid data format")
            return
        self.data_format = int(value)

    def set_precision(value: float) -> None:
        if not 1 <= int(value) <= 16:
            self.post_error(BAD_PRECISION, "Invalid ASCII precision")
            return
        self.set_precision(int(value))

    return self.object(
        {"data": lambda: self.data_format, "byteorder": lambda: int(self.little_endian),
         "asciiprecision": lambda: self.precision},
        {"data": set_data, "asciiprecision": set_precision,
         "byteorder": lambda value: setattr(self, "little_endian", int(value) == 1)},
        {"ASCII": ASCII, "SREAL": REAL32, "REAL32": REAL32, "REAL": REAL64, "REAL64": REAL64,
         "DREAL": REAL64, "NORMAL": 0, "NETWORK": 0, "BIGENDIAN": 0, "SWAPPED": 1,
         "LITTLEENDIAN": 1},
    )  # fmt: skip


def timer_object(self: TspPersonality) -> Any:
    """Return ``timer``."""
    start = [0]
    measure = self.object(objects={"t": lambda: (self.bench.clock_ns - start[0]) * 1e-9})
    return self.object(
        objects={
            "reset": lambda: start.__setitem__(0, self.bench.clock_ns),
            "measure": measure,
        }
    )


def common_command(self: TspPersonality, text: str) -> None:
    """Execute a common command of IEEE 488.2."""
    word = text.lower()
    if word == "*idn?":
        self.emit(self.faults.corrupt_idn or self.identity())
    elif word == "*rst":
        self.reset()
    elif word == "*cls":
        self.errors.clear()
        self.esr = 0
    elif word == "*opc?":
        self.wait_complete()
        self.emit("1")
    elif word == "*opc":
        self.operation_complete()
    elif word == "*wai":
        self.wait_complete()
    elif word == "*trg":
        self.trigger()
    elif word == "*esr?":
        self.emit(str(self.take_esr()))
    elif word == "*stb?":
        self.emit(str(self.status_byte()))
    elif word == "*tst?":
        self.emit("0")
    elif word.startswith("*lang"):
        self.language_command(text)
    elif word in ("*ese?", "*sre?"):
        self.emit(str(getattr(self, word[1:4])))
    elif word.startswith(("*ese ", "*sre ")) and word[5:].strip().isdigit():
        setattr(self, word[1:4], int(word[5:]) & 0xFF)
    else:
        self.post_error(-285, f"TSP Syntax error at line 1: unexpected symbol near '{text}'")


def announce(self: TspPersonality, errors_before: int, loading: bool) -> None:
    """Send new errors (``localnode.showerrors``) and the prompt (``localnode.prompts``).

    ``TSP>`` when ready, ``TSP?`` when errors are queued, ``>>>>`` while a script is loaded
    (2600BS-901-01, localnode.prompts).
    """
    if self.flags["showerrors"] in (1, True):
        for code, text in list(self.errors)[errors_before:]:
            self.emit(f"ERROR: {code}, {text}")
    if self.flags["prompts"] in (1, True):
        self.emit(">>>>" if loading else "TSP?" if self.errors else "TSP>")
