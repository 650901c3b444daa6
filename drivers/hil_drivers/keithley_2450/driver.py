"""Driver of the Keithley 2450 family in its SCPI command set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from hil.errors import BackendUnavailable, LinkError
from hil_drivers.list_source import ListRun, ListSource, list_commands
from hil_drivers.lowering import number
from hil_drivers.steps import Identity, SyncRole
from hil_drivers.transport.session import SHORT_TIMEOUT_S

_POINTS: Final = 100_000
_BUFFER: Final = '"defbuffer1"'
_LIST: Final = '"VoltCustomSweepList"'  # configuration list that a list of levels makes (p. 6-78)
_LOW_A = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: model -> (source ranges, current ranges)
_MODELS: Final = {
    "2450": ((0.02, 0.2, 2.0, 20.0, 200.0), _LOW_A),
    "2460": ((0.2, 2.0, 7.0, 10.0, 20.0, 100.0), (*_LOW_A[2:], 4.0, 5.0, 7.0)),
    "2461": ((0.2, 2.0, 7.0, 10.0, 20.0, 100.0), (*_LOW_A[2:], 4.0, 5.0, 7.0)),
    "2470": ((0.2, 2.0, 20.0, 200.0, 1000.0), _LOW_A),
}


class Keithley2450(ListSource):
    """Keithley 2450/2460/2461/2470 in SCPI mode; TSP mode is refused with what to do about it.

    Limits (2450-901-01 rev. B): 2450: 200 V, 1 A; 100 levels a list command, by appending up to
    2 500 in a list (p. 6-78, 6-79), begun again by the trigger model; ``defbuffer1`` holds 100 000
    readings. Points of at least 4 ms. Digital I/O lines 1 … 6: as a master it sends a trigger with
    each pulse or with the first (notify block, p. 6-146), as a follower it waits for one (wait
    block, p. 6-148, which keeps a trigger that comes after the trigger model has begun).
    """

    driver: ClassVar[str] = "keithley-2450"
    models: ClassVar[str] = r"24(50|60|61|70)"
    run_points: ClassVar[int] = _POINTS
    shortest_point_s: ClassVar[float] = 4e-3
    least_delay_s: ClassVar[float] = 50e-6
    trigger_lines: ClassVar[int] = 6
    #: Source status STAT_LIMIT (2470-901-01 rev. A p. 14-32; 2450-901-01 p. 8-29).
    limited_bit: ClassVar[int] = 1 << 5

    least_limit: ClassVar[float] = 0.1
    counts_a: ClassVar[float] = 1e6
    overrange_a: ClassVar[float] = 1.05
    overhead_s: ClassVar[float] = 30e-3

    def _ranges(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return _MODELS["2450" if self.identity is None else self.identity.model]

    # -- life ------------------------------------------------------------------------------

    def identify(self) -> Identity:
        """Return who answers; the command set has to be SCPI.

        Raises:
            BackendUnavailable: another instrument, or one in TSP or 2400 emulation mode.
        """
        identity = super().identify()
        language = self.session.query("*LANG?").strip()
        if language != "SCPI":
            raise BackendUnavailable(
                f"{self.name} ({self.session.address}): the {identity.model} is in its {language} "
                f"command set; send `*LANG SCPI` to it, switch it off and on, and try again"
            )
        return identity

    def reset_to_known(self) -> None:
        """Reset; voltage source, current meter, autozero off, output off in the chosen state."""
        chosen = self._chosen
        mode = {"high-z": "HIMP", "normal": "NORM", "zero": "ZERO"}[chosen.off]
        self._forget()
        self._send(
            "*RST", "*CLS", f":ROUT:TERM {'FRON' if chosen.terminals == 'front' else 'REAR'}",
            ":SOUR:FUNC VOLT", ":SOUR:VOLT 0", f":OUTP:VOLT:SMOD {mode}",
            ":SOUR:VOLT:READ:BACK OFF", ":SOUR:VOLT:DEL:AUTO OFF", ":SOUR:VOLT:DEL 0",
            ':SENS:FUNC "CURR"', ":SENS:CURR:AZER OFF", ":SENS:CURR:RANG:AUTO OFF",
            f":SENS:CURR:RSEN {'ON' if chosen.sense == 'remote' else 'OFF'}",
        )  # fmt: skip
        self.check_errors("*RST")

    def _off(self) -> Sequence[str]:
        return (":ABOR", ":SOUR:VOLT 0", ":OUTP OFF")

    def _output_queries(self) -> Sequence[str]:
        return (":OUTP?",)

    def _start_commands(self) -> Sequence[str]:
        return (":OUTP ON", ":INIT")

    def _armed(self) -> bool:
        # "Waiting" appears only after 100 ms; the wait block keeps what comes before (p. 6-166).
        answer = self.session.query(":TRIG:STAT?")
        state = answer.split(";")[0].strip().upper()
        if state in ("FAILED", "ABORTED", "EMPTY"):
            raise LinkError(f"the trigger model is {state.lower()}, not begun",
                            self.session.address)  # fmt: skip
        return state in ("RUNNING", "WAITING")

    def _end_commands(self) -> Sequence[str]:
        # *WAI keeps what follows until the trigger model is idle.
        return ("*WAI", ":SOUR:VOLT 0", ":OUTP OFF")

    # -- runs ------------------------------------------------------------------------------

    def _run_messages(self, run: ListRun) -> Sequence[Sequence[str]]:
        d = run.delivered
        first, *more = list_commands(":SOUR:LIST:VOLT", run.grid.levels_v)
        # Range, then limit, then level: the list keeps the settings that it was made with.
        head = [
            f":SOUR:VOLT:RANG {number(run.range_v)}",
            f":SENS:CURR:RANG {number(d.range_a)}",
            f":SOUR:VOLT:ILIM {number(d.compliance_a)}",
            f":SENS:CURR:NPLC {number(d.aperture_s * self._line_hz)}",
        ]
        tail = [*self._line_commands(run), f":TRAC:CLE {_BUFFER}", *self._blocks(run)]
        if not more:
            return [[*head, first, *tail]]
        return [[*head, first], *([command] for command in more), tail]

    def _line_commands(self, run: ListRun) -> list[str]:
        role, line = run.sync.role, run.sync.line
        if role is SyncRole.FOLLOWER:
            return [f":DIG:LINE{line}:MODE TRIG,IN", f":TRIG:DIG{line}:IN:EDGE FALL",
                    f":TRIG:DIG{line}:IN:CLE"]  # fmt: skip
        if role is SyncRole.MASTER:
            return [
                f":DIG:LINE{line}:MODE TRIG,OUT",
                f":TRIG:DIG{line}:OUT:LOG NEG",
                f":TRIG:DIG{line}:OUT:STIM NOT1",
            ]
        return []

    def _blocks(self, run: ListRun) -> list[str]:
        """Return the trigger model; all roles have as many blocks, so that none is left over."""
        follows = run.sync.role is SyncRole.FOLLOWER
        begin = f":TRIG:BLOC:WAIT 2,DIG{run.sync.line}" if follows else ":TRIG:BLOC:NOT 2,1"
        return [
            f":TRIG:BLOC:BUFF:CLE 1,{_BUFFER}", begin, f":TRIG:BLOC:CONF:NEXT 3,{_LIST}",
            f":TRIG:BLOC:DEL:CONS 4,{number(run.delay_s)}", f":TRIG:BLOC:MEAS 5,{_BUFFER}",
            f":TRIG:BLOC:BRAN:COUN 6,{run.per_trigger},3",
            f":TRIG:BLOC:BRAN:COUN 7,{run.triggers},2",
        ]  # fmt: skip

    count_query: ClassVar[str] = f":TRAC:ACT? {_BUFFER}"

    def _readings_query(self, n_points: int) -> tuple[str, float]:
        return (f":TRAC:DATA? 1,{n_points},{_BUFFER},READ,SOURSTAT",
                SHORT_TIMEOUT_S + n_points * 24 / 1e5)  # fmt: skip
