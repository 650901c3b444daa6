"""Trace buffers of a B2900 (SCPI command reference, :TRACe subsystem)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil_sim.virtual_bench.scpi_smu import Record
from hil_sim.virtual_bench.scpi_values import ScpiError, integer, keyword

if TYPE_CHECKING:
    from hil_sim.virtual_bench.instruments.keysight_b2900 import KeysightB2900


class TraceBuffers:
    """One buffer a channel; it is written while its control is ``NEXT``, until it is full."""

    def __init__(self, owner: KeysightB2900) -> None:
        self.owner = owner
        self._records: dict[int, list[Record]] = {}

    def reset(self) -> None:
        """``*RST``."""
        self._records.clear()

    def add_commands(self, largest: int) -> None:
        """Add the commands of the subsystem."""
        s, add = self.owner.setting, self.owner.add
        add(":TRACe#:CLEar", put=lambda n, _: self._of(n).clear())
        add(":TRACe#:DATA", get=lambda n, _: self._encoded(n))
        add(":TRACe#:POINts:ACTual", get=lambda n, _: str(len(self._of(n))))
        s(":TRACe#:POINts", "trace points", integer(1, largest), largest)
        s(":TRACe#:FEED", "trace feed", keyword("SENSe", "MATH", "LIMit"), "SENS")
        s(":TRACe#:FEED:CONTrol", "trace control", keyword("NEXT", "NEVer"), "NEV")

    def _of(self, n: int) -> list[Record]:
        self.owner.smu(n)
        return self._records.setdefault(n, [])

    def keep(self, n: int, records: list[Record]) -> None:
        """Append what was measured, as far as the buffer is open and has room."""
        if self.owner.value("trace control", n) != "NEXT":
            return
        buffer, size = self._of(n), self.owner.value("trace points", n)
        buffer.extend(records[: size - len(buffer)])
        if len(buffer) >= size:
            self.owner.values["trace control", (n,)] = "NEV"

    def _encoded(self, n: int) -> str | bytes:
        self.owner.finish()
        if not self._of(n):
            raise ScpiError(-230, "Data corrupt or stale")
        return self.owner.encoded(n, self._of(n))
