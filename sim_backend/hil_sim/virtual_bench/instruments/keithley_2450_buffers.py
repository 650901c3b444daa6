"""Reading buffers of a 2450 in its SCPI command set, by name."""

from __future__ import annotations

from typing import Final

from hil_sim.virtual_bench.scpi_smu import Record
from hil_sim.virtual_bench.scpi_values import ScpiError, integer, text

DEFAULT_BUFFERS: Final = ("defbuffer1", "defbuffer2")
_SIZE: Final = integer(10, 10_000_000)


class NamedBuffers:
    """Readings by buffer name, and how many each has room for.

    The error numbers of unknown and existing names are not verified.
    """

    def __init__(self) -> None:
        self.buffers: dict[str, list[Record]] = {b: [] for b in DEFAULT_BUFFERS}
        self.sizes: dict[str, int] = dict.fromkeys(DEFAULT_BUFFERS, 100_000)

    def forget(self) -> None:
        """``*RST``: only the default buffers are left, and they are empty."""
        self.buffers = {b: [] for b in DEFAULT_BUFFERS}

    def find(self, parameters: list[str], at: int) -> list[Record]:
        """Return the buffer that parameter ``at`` names, ``defbuffer1`` without one."""
        name = text(parameters[at]) if len(parameters) > at else DEFAULT_BUFFERS[0]
        if name not in self.buffers:
            raise ScpiError(-1133, f"Buffer {name} does not exist")
        return self.buffers[name]

    def make(self, parameters: list[str]) -> None:
        """``:TRACe:MAKE``."""
        name = text(parameters[0])
        if name in self.buffers:
            raise ScpiError(-1115, f"Buffer {name} already exists")
        self.sizes[name] = _SIZE(parameters[1])
        self.buffers[name] = []

    def delete(self, parameters: list[str]) -> None:
        """``:TRACe:DELete``."""
        name = text(parameters[0])
        if name in DEFAULT_BUFFERS or name not in self.buffers:
            raise ScpiError(-1133, f"Buffer {name} cannot be deleted")
        del self.buffers[name]

    def put_points(self, parameters: list[str]) -> None:
        """``:TRACe:POINts size, name``."""
        name = text(parameters[1]) if len(parameters) > 1 else DEFAULT_BUFFERS[0]
        self.find([name], 0)
        self.sizes[name] = _SIZE(parameters[0])

    def points(self, parameters: list[str]) -> str:
        """``:TRACe:POINts?``."""
        name = text(parameters[0]) if parameters else DEFAULT_BUFFERS[0]
        self.find([name], 0)
        return str(self.sizes[name])

    def keep(self, buffer: list[Record], records: list[Record]) -> None:
        """Append to a buffer what it has room for."""
        name = next(n for n, b in self.buffers.items() if b is buffer)
        buffer.extend(records[: self.sizes[name] - len(buffer)])
