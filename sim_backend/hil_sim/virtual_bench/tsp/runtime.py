"""An instrument that runs Lua: messages are chunks, scripts are kept, errors go to a queue."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import resources
from inspect import isfunction
from typing import TYPE_CHECKING, Any, ClassVar

from lupa import lua51

from hil_sim.virtual_bench.engine import RunAborted
from hil_sim.virtual_bench.personality import Personality, Reply, Setting
from hil_sim.virtual_bench.tsp.attributes import BAD_FORMAT, BAD_PRECISION

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_REMOVED = ("python", "io", "dofile", "loadfile", "require", "package", "module", "debug")
_SEVERITY = 20  # RECOVERABLE
ASCII, REAL32, REAL64 = 1, 2, 3
_POWER_ON = 128  # bit of the standard event register


class TspPersonality(Personality):
    """A Test Script Processor (Lua 5.1 here; firmware is Lua 5.0 with the same core).

    Only a Lua run-time error (-286) ends a script; other errors are queued and it goes on, as the
    2600B reference manual says ("Error effects on scripts").
    """

    block_aware = False
    queue_limit = 100
    factory_scripts: ClassVar[str] = ""  #: file of Lua that the instrument brings with it

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        super().__init__(bench, name, settings)
        self.lua = lua51.LuaRuntime(unpack_returned_tuples=True, encoding="latin-1")
        self._output: list[bytes] = []
        self._loading: tuple[str, bool, list[str]] | None = None
        self.buffers: dict[int, Callable[[], Sequence[float]]] = {}
        self.data_format, self.little_endian, self.precision = ASCII, False, 6
        self.esr = _POWER_ON
        host = self.lua.table_from({
            "emit": self._emit, "printnumber": self._printnumber, "printbuffer": self._printbuffer,
        })  # fmt: skip
        source = (resources.files("hil_sim.virtual_bench.tsp") / "prelude.lua").read_text("utf-8")
        globals_ = self.lua.globals()
        self._tools = globals_.loadstring(source)(host)
        for removed in _REMOVED:
            globals_[removed] = None
        for removed in ("execute", "remove", "rename", "exit", "tmpname", "getenv"):
            globals_.os[removed] = None
        for key, value in self.root_objects().items():
            # A script sees a function that prints as one, not a foreign object.
            globals_[key] = self._tools.wrapped(value) if isfunction(value) else value
        self._exit_mark = self._load_factory_scripts()
        self._built_in = set(globals_.keys())

    def _load_factory_scripts(self) -> str:
        """Define what comes with the instrument as scripts; return what its ``exit`` raises."""
        if not self.factory_scripts:
            return ""
        folder = resources.files("hil_sim.virtual_bench.tsp")
        return str(self.lua.execute((folder / self.factory_scripts).read_text("utf-8")))

    def power_cycle(self) -> None:
        """Go off and on: scripts and everything that they defined are gone."""
        super().power_cycle()
        globals_ = self.lua.globals()
        for name in set(globals_.keys()) - self._built_in:
            globals_[name] = None
        self._load_factory_scripts()
        self.data_format, self.little_endian, self.precision = ASCII, False, 6
        self._loading = None
        self.esr = _POWER_ON

    # What an instrument fills in.

    def root_objects(self) -> dict[str, Any]:
        """Return the instrument's global objects; extends what every TSP instrument has."""
        return {
            "localnode": self.localnode(),
            "errorqueue": self.errorqueue(),
            "format": self.format_object(),
            "delay": lambda seconds: self.bench.dwell(float(seconds)),
            "waitcomplete": lambda *_: self.wait_complete(),
            "reset": lambda *_: self.reset(),
            "opc": lambda: None,
            "makegetter": lambda table, key: lambda: table[key],
            "makesetter": lambda table, key: lambda value: table.__setitem__(key, value),
            "beeper": self.object(objects={"beep": lambda *_: None}),
            "timer": self._timer_object(),
        }

    def version(self) -> str:
        """Return the firmware version."""
        return "3.4.2"

    def wait_complete(self) -> None:
        """Block until overlapped commands are done."""
        self.bench.wait_until(self, lambda: True)

    def trigger(self) -> None:
        """``*TRG``."""

    # Objects.

    def object(
        self, getters: Mapping[str, Callable[[], Any]] | None = None,
        setters: Mapping[str, Callable[[Any], None]] | None = None,
        objects: Mapping[str | int, Any] | None = None, luatype: str | None = None,
        values: Callable[[], Sequence[float]] | None = None,
    ) -> Any:  # fmt: skip
        """Return a Lua object with attributes (getters, setters) and constants or functions.

        ``values`` makes it a reading buffer: it indexes from 1 and may be printed.
        """
        number = None
        fetch = None
        if values is not None:
            number = len(self.buffers) + 1
            self.buffers[number] = values

            def fetch(key: float) -> float | None:
                column = values()
                at = int(key) - 1
                return float(column[at]) if 0 <= at < len(column) else None

        table = self.lua.table_from
        return self._tools.object(
            table(dict(getters or {})), table(dict(setters or {})), table(dict(objects or {})),
            luatype, number, fetch,
        )  # fmt: skip

    def localnode(self) -> Any:
        """Return ``localnode``."""
        flags: dict[str, Any] = {"prompts": 0, "showerrors": 0, "autolinefreq": True}
        getters: dict[str, Callable[[], Any]] = {
            "model": lambda: self.model, "serialno": lambda: self.serial,
            "revision": self.version, "version": self.version, "linefreq": lambda: 50.0,
            "description": lambda: f"Keithley {self.model}",
        }  # fmt: skip
        setters: dict[str, Callable[[Any], None]] = {"linefreq": lambda _: None}
        for flag in flags:
            getters[flag] = partial(flags.__getitem__, flag)
            setters[flag] = partial(flags.__setitem__, flag)
        return self.object(getters, setters, {"reset": lambda: self.reset(), "ENABLE": 1,
                                              "DISABLE": 0})  # fmt: skip

    def reset_status(self, *_: Any) -> None:
        """``status.reset()``: all bits of the status model."""
        self.esr = self.ese = self.sre = 0

    def standard_events(self) -> Any:
        """Return ``status.standard``, whose event register is cleared by reading it."""
        return self.object({"event": self._take_esr})

    def _take_esr(self) -> int:
        value, self.esr = self.esr, 0
        return value

    def errorqueue(self) -> Any:
        """Return ``errorqueue``."""
        return self.object(
            {"count": lambda: len(self.errors)},
            objects={"next": self._next_error, "clear": lambda: self.errors.clear()},
        )

    def _next_error(self) -> tuple[float, str, float, float]:
        if not self.errors:
            return 0.0, "Queue Is Empty", 0.0, 0.0
        code, text = self.errors.popleft()
        return float(code), text, float(_SEVERITY), 1.0

    def format_object(self) -> Any:
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
            self.precision = int(value)
            self._tools.precision(self.precision)

        return self.object(
            {"data": lambda: self.data_format, "byteorder": lambda: int(self.little_endian),
             "asciiprecision": lambda: self.precision},
            {"data": set_data, "asciiprecision": set_precision,
             "byteorder": lambda value: setattr(self, "little_endian", int(value) == 1)},
            {"ASCII": ASCII, "SREAL": REAL32, "REAL32": REAL32, "REAL": REAL64, "REAL64": REAL64,
             "DREAL": REAL64, "NORMAL": 0, "NETWORK": 0, "BIGENDIAN": 0, "SWAPPED": 1,
             "LITTLEENDIAN": 1},
        )  # fmt: skip

    def _timer_object(self) -> Any:
        start = [0]
        measure = self.object(objects={"t": lambda: (self.bench.clock_ns - start[0]) * 1e-9})
        return self.object(
            objects={
                "reset": lambda: start.__setitem__(0, self.bench.clock_ns),
                "measure": measure,
            }
        )

    def buffer_id(self, value: Any) -> int | None:
        """Return the number of the reading buffer that a Lua value is, None when it is none."""
        found = self._tools.id(value)
        return None if found is None else int(found)

    # Output.

    def _emit(self, text: str) -> None:
        self._output.append(text.encode("latin-1") + b"\n")

    def _number(self, value: float) -> str:
        return f"{value:.{self.precision - 1}e}"

    def _send_values(self, values: Iterable[float]) -> None:
        out = list(values)
        if self.data_format == ASCII:
            self._emit(", ".join(self._number(v) for v in out))
            return
        code = ("<" if self.little_endian else ">") + str(len(out))
        kind = "f" if self.data_format == REAL32 else "d"
        self._output.append(b"#0" + struct.pack(code + kind, *out) + b"\n")

    def _printnumber(self, values: Any) -> None:
        self._send_values(float(values[i]) for i in range(1, int(values["n"]) + 1))

    def _printbuffer(self, first: float, last: float, found: Any) -> None:
        columns = [self.buffers[int(number)]() for number in found.values()]
        low, high = max(int(first), 1), min(int(last), min(len(c) for c in columns))
        rows = range(low - 1, high)
        self._send_values(float(column[row]) for row in rows for column in columns)

    # Messages.

    def is_urgent(self, message: bytes) -> bool:
        """``abort`` and ``*RST`` stop a script of another session."""
        return message.strip().lower() in (b"abort", b"*rst")

    def clear(self) -> None:
        """Device clear: stops the script, empties the output."""
        super().clear()
        self._output.clear()
        self._loading = None

    def handle(self, message: bytes) -> bytes | None:
        """Execute one line."""
        text = message.decode("latin-1").strip()
        self._output.clear()
        try:
            self._line(text)
        except RunAborted:
            self._output.clear()
            raise
        return Reply(self._output) if self._output else None

    def _line(self, text: str) -> None:
        if self._loading is not None:
            self._keep(text)
        elif text.startswith(("loadscript", "loadandrunscript")):
            word, _, name = text.partition(" ")
            self._loading = (name.strip(), word == "loadandrunscript", [])
        elif text == "abort":
            self.abort()
        elif text.startswith("*"):
            self._common(text)
        elif text:
            self.execute(text)

    def abort(self) -> None:
        """Stop overlapped operations; outputs stay as they are."""
        self.bench.engine.abort({id(t) for t in self.terminals.values()})

    def _keep(self, text: str) -> None:
        if self._loading is None:
            return
        name, run, lines = self._loading
        if text != "endscript":
            lines.append(text)
            return
        self._loading = None
        chunk = self._compiled("\n".join(lines))
        if chunk is None:
            return
        if not self.may_redefine(name):
            return
        if name:
            self.lua.globals()[name] = self._tools.script(name, chunk, "\n".join(lines))
        self.lua.globals()["run"] = chunk
        if run:
            self._call(chunk)

    def may_redefine(self, name: str) -> bool:
        """Whether a script of an existing name may be loaded."""
        return True

    def execute(self, text: str) -> None:
        """Compile and run a chunk."""
        chunk = self._compiled(text)
        if chunk is not None:
            self._call(chunk)

    def _compiled(self, text: str) -> Any:
        result = self._tools.load(text, "=line")
        if isinstance(result, tuple):
            message = str(result[1]).removeprefix("line:")
            self.post_error(-285, f"TSP Syntax error at line {message}")
            return None
        return result

    def _call(self, chunk: Any) -> None:
        try:
            chunk()
        except lua51.LuaError as exc:
            if self._exit_mark and self._exit_mark in str(exc):
                return
            first = str(exc).splitlines()[0].removeprefix("line:")
            self.post_error(-286, f"TSP Runtime error at line {first}")
        except (TypeError, ValueError, KeyError, IndexError) as exc:
            # What a built-in function of the firmware says to wrong arguments.
            self.post_error(-286, f"TSP Runtime error at line 1: {exc}")

    def _common(self, text: str) -> None:
        word = text.lower()
        if word == "*idn?":
            self._emit(self.faults.corrupt_idn or self.identity())
        elif word == "*rst":
            self.reset()
        elif word == "*cls":
            self.errors.clear()
            self.esr = 0
        elif word == "*opc?":
            self.wait_complete()
            self._emit("1")
        elif word == "*opc":
            self.wait_complete()
            self.esr |= 1
        elif word == "*wai":
            self.wait_complete()
        elif word == "*trg":
            self.trigger()
        elif word == "*esr?":
            self._emit(str(self._take_esr()))
        elif word == "*stb?":
            self._emit(str(4 if self.errors else 0))
        elif word == "*tst?":
            self._emit("0")
        elif word == "*lang?":
            self._emit("TSP")
        elif not word.startswith(("*ese", "*sre")):
            self.post_error(-285, f"TSP Syntax error at line 1: unexpected symbol near '{text}'")

    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""
        return f"Keithley Instruments Inc., Model {self.model}, {self.serial}, {self.version()}"
