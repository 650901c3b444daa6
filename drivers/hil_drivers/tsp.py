"""What all TSP instruments share: printed values, the error queue, uploaded scripts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from hil.errors import InstrumentError, LinkError

if TYPE_CHECKING:
    from hil_drivers.transport.session import Session

#: A queue holds at most this many entries (2600B reference manual, errorqueue.count).
MAX_ERRORS: Final = 100

PrintedValue = float | bool | str | None


def printed(line: str) -> list[PrintedValue]:
    """Return the tab separated values of one ``print``: float, bool, None for nil, else text."""
    return [_value(part.strip()) for part in line.split("\t")]


def _value(text: str) -> PrintedValue:
    if text == "nil":
        return None
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def printed_numbers(line: str, count: int, address: str) -> list[float]:
    """Return exactly ``count`` printed numbers.

    Raises:
        LinkError: another count, or something that is no number.
    """
    values = printed(line)
    numbers = [v for v in values if isinstance(v, float) and not isinstance(v, bool)]
    if len(values) != count or len(numbers) != count:
        raise LinkError(f"{count} numbers were asked for, {line!r} came", address)
    return numbers


def poll_errors(session: Session, last_command: str) -> list[InstrumentError]:
    """Return and remove all entries of the error queue, oldest first."""
    found: list[InstrumentError] = []
    for _ in range(MAX_ERRORS):
        values = printed(session.query("print(errorqueue.next())"))
        code = values[0]
        if not isinstance(code, float):
            raise LinkError(f"the error queue answered {values!r}", session.address)
        if code == 0:
            return found
        text = str(values[1]) if len(values) > 1 else ""
        found.append(InstrumentError(int(code), text, last_command))
    return found


def script(package: str, name: str) -> str:
    """Return the message that loads and runs the package's script file ``name``."""
    text = (files(package) / name).read_text(encoding="ascii")
    lines = [line.strip() for line in text.splitlines()]
    body = [line for line in lines if line and not line.startswith("--")]
    return "\n".join(["loadandrunscript", *body, "endscript"])


def lua_list(values: Sequence[str]) -> str:
    """Return a Lua table of values that are Lua text already."""
    return "{" + ",".join(values) + "}"
