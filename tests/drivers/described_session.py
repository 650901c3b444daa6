"""A session with an instrument that somebody else described for pyvisa-sim.

A description answers whole messages in one spelling, so that a driver's message is taken apart into
its commands, and each is respelled as the description has it where the language says that the two
mean the same: SCPI long and short forms, spaces around ``=`` in Lua. What the description has goes
through a real VISA session to pyvisa-sim; the rest is answered by :class:`FakeSession` and noted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fake_session import FakeSession
from hil_drivers.transport import VisaSession

_LUA_STATEMENT = re.compile(r"[\w.]+\([^()]*\)|[\w.]+ ?= ?[\w.+-]+")


class DescribedSession(FakeSession):
    """Sends what the description has, and lists it: ``described``, ``lacking``."""

    def __init__(
        self, driver: str, description: Path, resource: str, given: dict[str, str] | None = None
    ) -> None:
        """Open; ``given`` are answers to give instead of those of the description."""
        super().__init__(driver)
        self.visa = VisaSession(resource, library=f"{description}@sim")
        self.address = resource
        self.described: list[str] = []
        self.lacking: list[str] = []
        self.given = given or {}
        self.device: Any = self.visa._resource.visalib.devices[resource]
        self.forms = {scpi_short(text): text for text in spellings(description)}

    def close(self) -> None:
        self.visa.close()

    def write(self, message: str, timeout_s: float = 1.0) -> None:
        self.exchange(message)

    def query(self, message: str, timeout_s: float = 1.0) -> str:
        replies = self.exchange(message)
        return replies[-1] if "\n" in message else ";".join(replies)

    def exchange(self, message: str) -> list[str]:
        """Send every command to whom it concerns; return the replies, oldest first."""
        self._note(message)
        replies = []
        for command in commands(message):
            asks = "?" in command.split(" ")[0] or command.startswith(("print(", "hil_"))
            known = None if command in self.given else self.respelled(command)
            (self.lacking if known is None else self.described).append(command)
            if known is not None and asks:
                replies.append(self.visa.query(known))
            elif known is not None:
                self.visa.write(known)
            elif asks:
                replies.append(self.given.get(command) or self._answer(command))
        return replies

    def _answer(self, command: str) -> str:
        return self._scpi(command) if command.startswith((":", "*")) else self._tsp(command)

    def respelled(self, command: str) -> str | None:
        """Return the command as the description has it, None where it has none."""
        header, space, parameters = command.partition(" ")
        form = self.forms.get(scpi_short(header), header)
        candidates = [command, re.sub(r" ?= ?", " = ", command, count=1), form + space + parameters]
        for candidate in candidates:
            # Matching sets what a setter sets; the message that follows sets it again.
            if self.device._match(candidate.encode()) is not None:
                return candidate
        return None


def commands(message: str) -> list[str]:
    """Return the commands of a message: lines, ``;`` chains, and simple statements of one line."""
    if message.startswith("loadandrunscript"):
        return ["loadandrunscript"]
    out = []
    for line in message.splitlines():
        statements = _LUA_STATEMENT.findall(line)
        if line.startswith((":", "*")):
            out += line.split(";")
        elif " ".join(statements) == line:
            out += statements
        else:
            out.append(line)
    return out


def spellings(description: Path) -> list[str]:
    """Return the headers of all messages that a description names."""
    text = description.read_text(encoding="utf-8")
    return [q.split(" ")[0] for q in re.findall(r"""q: ["']?([^"'\n]+)""", text)]


def scpi_short(header: str) -> str:
    """Return a header with every word in its short form, from the root."""
    nodes = []
    for word in header.lstrip(":").split(":"):
        upper = re.match(r"[A-Z]+", word)
        shortened = upper is not None and upper.end() < len(word) and word[upper.end()].islower()
        rest = re.sub(r"[a-z]", "", word[upper.end() :]) if shortened and upper else ""
        nodes.append(upper.group() + rest if shortened and upper else word.upper())
    return ":".join(nodes)
