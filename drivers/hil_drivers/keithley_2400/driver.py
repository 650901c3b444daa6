"""Driver of the Keithley 2400 (2401, 2410, 2420, 2425, 2430, 2440)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from hil_drivers.list_source import ListRun, ListSource, list_commands
from hil_drivers.lowering import number
from hil_drivers.steps import SyncRole
from hil_drivers.transport.blocks import parse_numbers
from hil_drivers.transport.session import SHORT_TIMEOUT_S, LinkSettings

_POINTS: Final = 2500
_WAITING_FOR_ARM: Final = 1 << 6  # operation condition, figure 15-5
_LOW_A = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: model -> (source ranges, current ranges)
_MODELS: Final = {
    "2400": ((0.2, 2.0, 20.0, 200.0), _LOW_A), "2401": ((0.2, 2.0, 20.0), _LOW_A),
    "2410": ((0.2, 2.0, 20.0, 1000.0), _LOW_A),
    "2420": ((0.2, 2.0, 20.0, 60.0), (*_LOW_A[1:], 3.0)),
    "2425": ((0.2, 2.0, 20.0, 100.0), (*_LOW_A[1:], 3.0)),
    "2430": ((0.2, 2.0, 20.0, 100.0), (*_LOW_A[1:], 3.0)),
    "2440": ((0.2, 2.0, 10.0, 40.0), (*_LOW_A[1:], 5.0)),
}  # fmt: skip


class Keithley2400(ListSource):
    """Keithley 2400 SourceMeter: list sweeps, read back from its buffer.

    Limits (2400S-900-01 rev. K): 2400: 200 V, 1 A without overrange; 100 levels a list command, by
    appending up to 2 500 in a list (p. 18-91, 18-92), begun again until the trigger count of up to
    2 500 is reached (p. 18-93); buffer 2 500 readings (p. 18-115). Points of at least 2 ms. No
    pulse mode but on the 2430. Trigger link lines 1 … 4 (p. 11-19): as a master it sends a trigger
    with each pulse or with the first (arm layer output, p. 18-122), as a follower it waits for one
    in its arm layer (p. 18-119).
    """

    driver: ClassVar[str] = "keithley-2400"
    models: ClassVar[str] = r"24(0[01]|10|2[05]|[34]0)(-C|-LV)?"
    link: ClassVar[LinkSettings] = LinkSettings(baud=57600)
    run_points: ClassVar[int] = _POINTS
    shortest_point_s: ClassVar[float] = 2e-3
    trigger_lines: ClassVar[int] = 4
    limited_bit: ClassVar[int] = 1 << 3  # status element, p. 18-52

    least_limit: ClassVar[float] = 1e-3
    counts_a: ClassVar[float] = 1e5
    overrange_a: ClassVar[float] = 1.055
    overhead_s: ClassVar[float] = 60e-3

    def _ranges(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return _MODELS["2400" if self.identity is None else self.identity.model[:4]]

    # -- life ------------------------------------------------------------------------------

    def reset_to_known(self) -> None:
        """Reset; voltage source, current meter, autozero off, output off in the chosen state."""
        chosen = self._chosen
        mode = {"high-z": "HIMP", "normal": "NORM", "zero": "ZERO"}[chosen.off]
        self._forget()
        self._send(
            "*RST", "*CLS", f":ROUT:TERM {'FRON' if chosen.terminals == 'front' else 'REAR'}",
            f":SYST:RSEN {'ON' if chosen.sense == 'remote' else 'OFF'}",
            ":SYST:AZER OFF", f":OUTP:SMOD {mode}", ":SOUR:FUNC VOLT", ":SOUR:VOLT:MODE FIX",
            ":SOUR:VOLT:LEV 0", ":SOUR:DEL:AUTO OFF", ":SENS:FUNC:CONC OFF",
            ":SENS:FUNC 'CURR:DC'", ":SENS:CURR:RANG:AUTO OFF", ":FORM:ELEM CURR,STAT",
        )  # fmt: skip
        self.check_errors("*RST")

    def _off(self) -> Sequence[str]:
        return (":ABOR", ":SOUR:VOLT:MODE FIX", ":SOUR:VOLT:LEV 0", ":OUTP OFF")

    def _output_queries(self) -> Sequence[str]:
        return (":OUTP?",)

    def _start_commands(self) -> Sequence[str]:
        # A trigger that was latched earlier would begin the run at once (p. 18-116).
        return (":TRIG:CLE", ":OUTP ON", ":INIT")

    def _armed(self) -> bool:
        answer = self.session.query(":STAT:OPER:COND?")
        state = int(parse_numbers(answer, 1, self.session.address)[0])
        return bool(state & _WAITING_FOR_ARM)

    def _end_commands(self) -> Sequence[str]:
        # *WAI keeps what follows until the sweep is back in idle.
        return ("*WAI", ":SOUR:VOLT:MODE FIX", ":SOUR:VOLT:LEV 0", ":OUTP OFF")

    # -- runs ------------------------------------------------------------------------------

    def _run_messages(self, run: ListRun) -> Sequence[Sequence[str]]:
        d, grid = run.delivered, run.grid
        first, *more = list_commands(":SOUR:LIST:VOLT", grid.levels_v)
        highest = self.channel_capabilities("1").compliance_a.max
        # A range above the protection's is refused, and a protection far below the range: the
        # output is off, so that the protection may be wide open while the range changes.
        head = [
            f":SOUR:VOLT:RANG {number(run.range_v)}",
            f":SENS:CURR:PROT {number(highest)}",
            f":SENS:CURR:RANG {number(d.range_a)}",
            f":SENS:CURR:PROT {number(d.compliance_a)}",
            f":SENS:CURR:NPLC {number(d.aperture_s * self._line_hz)}",
            f":SOUR:DEL {number(run.delay_s)}",
        ]
        tail = [
            ":SOUR:VOLT:MODE LIST", *self._trigger_commands(run),
            f":ARM:COUN {run.triggers}", f":TRIG:COUN {run.per_trigger}",
            # Size and feed cannot be changed while the buffer is being written (p. 18-115): a run
            # that was broken off leaves it so.
            ":TRAC:FEED:CONT NEV", ":TRAC:CLE", f":TRAC:POIN {grid.n_points}",
            ":TRAC:FEED SENS", ":TRAC:FEED:CONT NEXT",
        ]  # fmt: skip
        if not more:
            return [[*head, first, *tail]]
        # Each hundred levels is a message of its own: the input buffer need not hold them all.
        return [[*head, first], *([command] for command in more), tail]

    def _trigger_commands(self, run: ListRun) -> list[str]:
        """What the arm layer waits for, and what it sends when the trigger layer is entered."""
        role, line = run.sync.role, run.sync.line
        # The product of both counts is limited to the buffer: neither may be large in between.
        counts = [":ARM:COUN 1", ":TRIG:COUN 1"]
        if role is SyncRole.FOLLOWER:
            return [
                *counts,
                ":ARM:OUTP NONE",
                ":ARM:DIR ACC",
                ":ARM:SOUR TLIN",
                f":ARM:ILIN {line}",
            ]
        if role is SyncRole.MASTER:
            return [*counts, ":ARM:SOUR IMM", f":ARM:OLIN {line}", ":ARM:OUTP TENT"]
        return [*counts, ":ARM:SOUR IMM", ":ARM:OUTP NONE"]

    count_query: ClassVar[str] = ":TRAC:POIN:ACT?"

    def _readings_query(self, n_points: int) -> tuple[str, float]:
        # At most 2 x 14 characters a reading; RS-232 at 57 600 baud moves 5.7 kB/s.
        return ":TRAC:DATA?", SHORT_TIMEOUT_S + n_points * 28 / 5e3
