"""SCPI instruments: long and short forms, chains, queries, error queue, common commands."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hil_sim.virtual_bench.personality import Personality, Setting
from hil_sim.virtual_bench.scpi_common import EAV, ESB, MSS, PON, add_common, event_bit
from hil_sim.virtual_bench.scpi_values import Parse, ScpiError, split_parameters

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

Action = Callable[..., Any]
_NODE = re.compile(r":([A-Za-z]+)(#?)")
_BLOCK_AT = re.compile(rb"#[1-9]")
_HEADER = re.compile(r"\*[A-Z]+|:?[A-Z]\w*(?::[A-Z]\w*)*")


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """A command: its header as a regular expression, what sets and what answers it."""

    header: re.Pattern[str]
    setter: Action | None
    getter: Action | None
    raw: bool = False
    needs: int = 0
    most: int | None = None
    asks: int = 0


def header_pattern(header: str) -> re.Pattern[str]:
    """Compile ``[:SOURce#]:VOLTage[:LEVel]``: brackets optional, ``#`` an optional number."""
    out = header.replace("*", r"\*").replace("[", "(?:").replace("]", ")?")

    def node(match: re.Match[str]) -> str:
        long = match.group(1)
        short = re.sub(r"[a-z]", "", long)
        form = long.upper() if short == long.upper() else f"(?:{short}|{long.upper()})"
        return f":{form}" + (r"(\d*)" if match.group(2) else "")

    return re.compile(_NODE.sub(node, out))


class ScpiPersonality(Personality):
    """Parses messages and calls the commands that an instrument adds in ``add_commands``.

    A setter or getter gets the numeric suffixes of its header (1 where left out), then the
    parameters, parsed. A getter returns text, bytes (sent as they are), or a number.

    Attributes:
        setups: places of ``*SAV`` and ``*RCL``, 0 where the instrument has none.
        indefinite: the message at hand has asked ``*IDN?``, after which no query may follow.
    """

    setups: ClassVar[int] = 0

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        super().__init__(bench, name, settings)
        self.values: dict[tuple[str, tuple[int, ...]], Any] = {}
        self.defaults: dict[str, Any] = {}
        self._commands: list[Command] = []
        self._found: dict[str, tuple[Command, tuple[int, ...]] | None] = {}
        self.esr, self.ese, self.sre = PON, 0, 0
        self.indefinite = False
        self.saved: dict[int, Any] = {}
        add_common(self)
        self.add_commands()

    # What an instrument fills in.

    def add_commands(self) -> None:
        """Add the instrument's commands."""

    @abstractmethod
    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""

    def check_suffixes(self, header: str, suffixes: tuple[int, ...]) -> None:
        """Refuse numeric suffixes of channels that are not there.

        Raises:
            ScpiError: -114.
        """

    def trigger(self) -> None:
        """``*TRG``."""
        raise ScpiError(-211, "Trigger ignored")

    def finish(self) -> None:
        """Wait for what runs (``*OPC?``, ``*WAI``)."""
        self.bench.run(self)

    def format_number(self, value: float) -> str:
        """Return a number as the instrument writes it."""
        return f"{value:+.6E}"

    def format_error(self, code: int, message: str) -> str:
        """Return an error as ``:SYST:ERR?`` answers it."""
        return f'{code:+d},"{message}"' if code else '+0,"No error"'

    # Building blocks.

    def add(self, header: str, *, put: Action | None = None, get: Action | None = None,
            raw: bool = False, needs: int = 0, most: int | None = None,
            asks: int = 0) -> None:  # fmt: skip
        """Add a command; ``raw`` setters get the parameter bytes unparsed.

        ``needs`` and ``most`` are the least and largest numbers of parameters of the setter,
        ``asks`` the least of the query.
        """
        self._commands.append(Command(header_pattern(header), put, get, raw, needs, most, asks))

    def setting(self, header: str, key: str, parse: Parse, default: Any,
                after: Action | None = None) -> None:  # fmt: skip
        """Add a stored setting with its query; ``after(*suffixes)`` runs when it was set."""
        self.defaults[key] = default

        def put(*args: Any) -> None:
            *suffixes, parameters = args
            self.values[key, tuple(suffixes)] = parse(parameters[0])
            if after is not None:
                after(*suffixes)

        def get(*args: Any) -> Any:
            *suffixes, parameters = args
            if parameters:
                return parse(parameters[0])
            return self.value(key, *suffixes)

        self.add(header, put=put, get=get, needs=1, most=1)

    def value(self, key: str, *suffixes: int) -> Any:
        """Return a stored setting."""
        return self.values.get((key, suffixes), self.defaults[key])

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self.bench.engine.abort({id(t) for t in self.terminals.values()})
        self.values.clear()

    def summary(self) -> int:
        """Return the bits that an instrument's own registers set in the status byte."""
        return 0

    def power_cycle(self) -> None:
        """Go off and on."""
        super().power_cycle()
        self.esr, self.ese, self.sre = PON, 0, 0

    def status_byte(self) -> int:
        """Return the status byte."""
        bits = EAV * bool(self.errors) | ESB * bool(self.esr & self.ese) | self.summary()
        return bits | MSS * bool(bits & self.sre)

    def take_error(self) -> str:
        """Return the oldest error as ``:SYST:ERR?`` does, and forget it."""
        return self.format_error(*(self.errors.popleft() if self.errors else (0, "")))

    def snapshot(self) -> Any:
        """Return the settings that ``*SAV`` keeps."""
        return dict(self.values)

    def restore(self, state: Any) -> None:
        """Take settings back (``*RCL``); outputs are off after it."""
        for terminal in self.terminals.values():
            terminal.on = False
        self.values = dict(state)

    # Parsing.

    def post_error(self, code: int, text: str) -> None:
        """Append to the error queue and set the bit of its class in the event register."""
        super().post_error(code, text)
        self.esr |= event_bit(code)

    def handle(self, message: bytes) -> bytes | None:
        """Execute a message; replies of its queries are joined by ``;``."""
        replies: list[str | bytes] = []
        path, self.indefinite = "", False
        for unit in _units(message):
            try:
                path = self._execute(unit, path, replies)
            except ScpiError as exc:
                self.post_error(exc.code, exc.text)
                if -200 < exc.code < 0:
                    break  # after a command error the parser drops the rest of the message
        if not replies:
            return None
        return b";".join(r if isinstance(r, bytes) else r.encode() for r in replies) + b"\n"

    def _execute(self, unit: bytes, path: str, replies: list[str | bytes]) -> str:
        words = unit.split(None, 1)
        if not words:
            return path
        head, tail = words[0], words[1] if len(words) > 1 else b""
        try:
            header = head.decode("ascii").upper()
        except UnicodeDecodeError as exc:
            raise ScpiError(-101, "Invalid character") from exc
        is_query = header.endswith("?")
        header = header.removesuffix("?")
        if _HEADER.fullmatch(header) is None:
            raise ScpiError(-102, "Syntax error")
        if is_query and self.indefinite:
            raise ScpiError(-440, "Query UNTERMINATED after indefinite response")
        if header.startswith("*"):
            full = header
        else:
            full = header if header.startswith(":") else f"{path}:{header}"
            path = full.rpartition(":")[0]
        found = self._find(full)
        if found is None:
            raise ScpiError(-113, "Undefined header")
        command, suffixes = found
        self.check_suffixes(full, suffixes)
        action = command.getter if is_query else command.setter
        if action is None:
            raise ScpiError(-113, "Undefined header")
        if command.raw and not is_query:
            action(*suffixes, tail)  # the last bytes of a block may look like white space
            return path
        parameters = split_parameters(tail.strip().decode("latin-1"))
        if len(parameters) < (command.asks if is_query else command.needs):
            raise ScpiError(-109, "Missing parameter")
        if not is_query and command.most is not None and len(parameters) > command.most:
            raise ScpiError(-108, "Parameter not allowed")
        result = action(*suffixes, parameters)
        if is_query:
            replies.append(self._formatted(result))
        return path

    def _formatted(self, result: Any) -> str | bytes:
        if isinstance(result, (str, bytes)):
            return result
        if isinstance(result, bool):
            return str(int(result))
        if isinstance(result, int):
            return str(result)
        return self.format_number(float(result))

    def _find(self, header: str) -> tuple[Command, tuple[int, ...]] | None:
        if header in self._found:
            return self._found[header]
        out = None
        for command in self._commands:
            match = command.header.fullmatch(header)
            if match is not None:
                out = command, tuple(int(g) if g else 1 for g in match.groups())
                break
        if len(self._found) < 4096:
            self._found[header] = out
        return out


def _units(message: bytes) -> list[bytes]:
    """Split a message at ``;`` outside quotes and binary blocks."""
    if _BLOCK_AT.search(message) is not None:
        return [message]  # a block ends its message
    if b'"' not in message and b"'" not in message:
        return message.split(b";")
    out, quote, start = [], 0, 0
    for at, char in enumerate(message):
        if quote:
            quote = 0 if char == quote else quote
        elif char in b"\"'":
            quote = char
        elif char == 0x3B:
            out.append(message[start:at])
            start = at + 1
    out.append(message[start:])
    return out
