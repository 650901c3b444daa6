"""An instrument that runs Lua: messages are chunks, scripts are kept, errors go to a queue."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from inspect import isfunction
from typing import TYPE_CHECKING, Any, ClassVar

from lupa import lua51

from hil_sim.virtual_bench.engine import RunAborted
from hil_sim.virtual_bench.personality import Personality, Reply, Setting
from hil_sim.virtual_bench.tsp import node

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_REMOVED = ("python", "io", "dofile", "loadfile", "require", "package", "module", "debug")
_POWER_ON = 128  # bit of the standard event register


def _plain(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(value)


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
        self.buffers: dict[int, Callable[[], Sequence[float | str]]] = {}
        self.data_format, self.little_endian, self.precision = node.ASCII, False, 6
        self.flags: dict[str, Any] = {"prompts": 0, "showerrors": 0, "autolinefreq": True}
        self.esr, self.ese, self.sre = 0, 0, 0  # it has been on for a while
        host = self.lua.table_from({
            "emit": self.emit, "printnumber": self._printnumber, "printbuffer": self._printbuffer,
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
        self.data_format, self.little_endian, self.precision = node.ASCII, False, 6
        self._loading = None
        self.esr = _POWER_ON

    # What an instrument fills in.

    def root_objects(self) -> dict[str, Any]:
        """Return the instrument's global objects; extends what every TSP instrument has."""
        return {
            "localnode": node.localnode(self),
            "errorqueue": node.errorqueue(self),
            "format": node.format_object(self),
            "delay": lambda seconds: self.bench.dwell(float(seconds)),
            "waitcomplete": lambda *_: self.wait_complete(),
            "reset": lambda *_: self.reset(),
            "opc": lambda *_: self.operation_complete(),
            "makegetter": lambda table, key: lambda: table[key],
            "makesetter": lambda table, key: lambda value: table.__setitem__(key, value),
            "beeper": self.object(objects={"beep": lambda *_: None}),
            "timer": node.timer_object(self),
        }

    def version(self) -> str:
        """Return the firmware version."""
        return "3.4.2"

    def wait_complete(self) -> None:
        """Block until overlapped commands are done."""
        self.bench.wait_until(self, lambda: True)

    def trigger(self) -> None:
        """``*TRG``."""

    def catch_up(self) -> None:
        """Run what was started and whose results somebody looks at now."""

    def operation_complete(self) -> None:
        """``opc()`` and ``*OPC``: set bit 0 of the event register when nothing runs any more."""
        self.wait_complete()
        self.esr |= 1

    def status_byte(self) -> int:
        """Return the status byte."""
        bits = super().status_byte() | 32 * bool(self.esr & self.ese)
        return bits | 64 * bool(bits & self.sre)

    # Objects.

    def object(
        self, getters: Mapping[str, Callable[[], Any]] | None = None,
        setters: Mapping[str, Callable[[Any], None]] | None = None,
        objects: Mapping[str | int, Any] | None = None, luatype: str | None = None,
        values: Callable[[], Sequence[float | str]] | None = None,
    ) -> Any:  # fmt: skip
        """Return a Lua object with attributes (getters, setters) and constants or functions.

        ``values`` makes it a reading buffer: it indexes from 1 and may be printed.
        """
        number = None
        fetch = None
        if values is not None:
            number = len(self.buffers) + 1
            self.buffers[number] = values

            def fetch(key: float) -> float | str | None:
                column = values()
                at = int(key) - 1
                return _plain(column[at]) if 0 <= at < len(column) else None

        table = self.lua.table_from
        return self._tools.object(
            table(dict(getters or {})), table(dict(setters or {})), table(dict(objects or {})),
            luatype, number, fetch,
        )  # fmt: skip

    def reset_status(self, *_: Any) -> None:
        """``status.reset()``: all bits of the status model."""
        self.esr = self.ese = self.sre = 0

    def standard_events(self) -> Any:
        """Return ``status.standard``, whose event register is cleared by reading it."""
        return self.object({"event": self.take_esr, "enable": lambda: self.ese},
                           {"enable": lambda value: setattr(self, "ese", int(value))})  # fmt: skip

    def take_esr(self) -> int:
        """Return the standard event register, and clear it."""
        value, self.esr = self.esr, 0
        return value

    def buffer_id(self, value: Any) -> int | None:
        """Return the number of the reading buffer that a Lua value is, None when it is none."""
        found = self._tools.id(value)
        return None if found is None else int(found)

    # Output.

    def emit(self, text: str) -> None:
        """Put a line into the output queue."""
        self._output.append(text.encode("latin-1") + b"\n")

    def set_precision(self, digits: int) -> None:
        """Set the significant digits of printed numbers."""
        self.precision = digits
        self._tools.digits(f"%.{digits - 1}e")

    def number_text(self, value: float) -> str:
        """Return a number as ``print`` and ``printbuffer`` write it."""
        return f"{value:.{self.precision - 1}e}"

    def _send_values(self, values: Iterable[float | str]) -> None:
        out = list(values)
        if self.data_format == node.ASCII:
            self.emit(", ".join(v if isinstance(v, str) else self.number_text(v) for v in out))
            return
        numbers = [v for v in out if not isinstance(v, str)]
        code = ("<" if self.little_endian else ">") + str(len(numbers))
        kind = "f" if self.data_format == node.REAL32 else "d"
        self._output.append(b"#0" + struct.pack(code + kind, *numbers) + b"\n")

    def _printnumber(self, values: Any) -> None:
        self._send_values(float(values[i]) for i in range(1, int(values["n"]) + 1))

    def _printbuffer(self, first: float, last: float, found: Any) -> None:
        columns = [self.buffers[int(number)]() for number in found.values()]
        low, high = max(int(first), 1), min(int(last), min(len(c) for c in columns))
        rows = range(low - 1, high)
        self._send_values(_plain(column[row]) for row in rows for column in columns)

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
        errors = len(self.errors)
        try:
            self._line(text)
        except RunAborted:
            self._output.clear()
            raise
        node.announce(self, errors, self._loading is not None)
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
            node.common_command(self, text)
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

    def language_command(self, text: str) -> None:
        """``*LANG?`` is no command of instruments that speak TSP only."""
        self.post_error(-285, f"TSP Syntax error at line 1: unexpected symbol near '{text}'")

    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""
        return f"Keithley Instruments Inc., Model {self.model}, {self.serial}, {self.version()}"
