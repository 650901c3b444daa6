"""Common commands of IEEE 488.2 and the ``:SYSTem`` queries that every SCPI instrument has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil_sim.virtual_bench.scpi_values import ScpiError, integer

if TYPE_CHECKING:
    from hil_sim.virtual_bench.scpi import ScpiPersonality

OPC, QYE, DDE, EXE, CME, PON = 1, 4, 8, 16, 32, 128
EAV, MAV, ESB, MSS = 4, 16, 32, 64
_BYTE = integer(0, 255)


def event_bit(code: int) -> int:
    """Return the bit of the standard event register for an error number (SCPI-1999, 21.8)."""
    return {1: CME, 2: EXE, 3: DDE, 4: QYE}.get(-code // 100, DDE)


def add_common(self: ScpiPersonality) -> None:
    """Add the common commands and ``:SYSTem:ERRor``."""

    def add_register(name: str) -> None:
        def put(parameters: list[str]) -> None:
            setattr(self, name, _BYTE(parameters[0]))

        self.add(f"*{name.upper()}", put=put, needs=1, most=1,
                 get=lambda _: str(getattr(self, name)))  # fmt: skip

    def take_esr(_: list[str]) -> str:
        value, self.esr = self.esr, 0
        return str(value)

    def operation_complete(_: list[str]) -> None:
        self.finish()
        self.esr |= OPC

    def opc_query(_: list[str]) -> str:
        self.finish()
        return "1"

    def clear_status(_: list[str]) -> None:
        self.errors.clear()
        self.esr = 0

    def all_errors(_: list[str]) -> str:
        entries = [self.format_error(*entry) for entry in self.errors]
        self.errors.clear()
        return ",".join(entries) if entries else self.format_error(0, "")

    def identity(_: list[str]) -> str:
        self.indefinite = True
        return self.faults.corrupt_idn or self.identity()

    def option(_: list[str]) -> str:
        self.indefinite = True
        return "0"

    self.add("*IDN", get=identity)
    self.add("*OPT", get=option)
    self.add("*RST", put=lambda _: self.reset(), most=0)
    self.add("*CLS", put=clear_status, most=0)
    self.add("*OPC", put=operation_complete, get=opc_query, most=0)
    self.add("*WAI", put=lambda _: self.finish(), most=0)
    self.add("*TRG", put=lambda _: self.trigger(), most=0)
    self.add("*TST", get=lambda _: "0")
    self.add("*ESR", get=take_esr)
    for name in ("ese", "sre"):
        add_register(name)
    self.add("*STB", get=lambda _: str(self.status_byte()))
    self.add(":SYSTem:ERRor[:NEXT]", get=lambda _: self.take_error())
    self.add(":SYSTem:ERRor:COUNt", get=lambda _: str(len(self.errors)))
    self.add(":SYSTem:ERRor:ALL", get=all_errors)
    self.add(":SYSTem:VERSion", get=lambda _: "1999.0")
    self.add(":SYSTem:CLEar", put=lambda _: self.errors.clear())
    if self.setups:
        _add_setups(self)


def _add_setups(self: ScpiPersonality) -> None:
    place = integer(0, self.setups - 1)

    def save(parameters: list[str]) -> None:
        self.saved[place(parameters[0])] = self.snapshot()

    def recall(parameters: list[str]) -> None:
        number = place(parameters[0])
        if number not in self.saved:
            raise ScpiError(-230, "Data corrupt or stale")
        self.restore(self.saved[number])

    self.add("*SAV", put=save, needs=1, most=1)
    self.add("*RCL", put=recall, needs=1, most=1)
