"""Keysight 81150A and 81160A pulse generators, SCPI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, cast

from hil.errors import LimitError
from hil_drivers.generators import LoadSettings, PulseGenerator, Train
from hil_drivers.lowering import number
from hil_drivers.steps import ChannelSteps, SyncPlan, SyncRole
from hil_drivers.transport.session import SHORT_TIMEOUT_S

__all__ = ["Keysight81160A"]


class Settings(LoadSettings):
    """Settings of one 81160A: the load that its levels are meant for, and its channels."""

    channels: Literal[1, 2] = 2


class Keysight81160A(PulseGenerator):
    """Keysight 81150A and 81160A pulse function generators.

    Limits (81150A/81160A user's guide, p. 142): +-5 V into 50 ohm, +-10 V into an open circuit;
    period from 8.33 ns (81150A) or 3.03 ns (81160A) and at least the width and 1.6 edges; edges
    from 1 ns; waveforms of up to 131 072 points, 14 bit, whose repetition rate is the frequency.
    The load is set before the levels, and the output's limits (``:VOLT:LIM``) before it is
    switched on. It can neither limit nor measure current. ``EXT`` starts a whole run; its trigger
    output follows every pulse, so that it is no master.
    """

    driver: ClassVar[str] = "keysight-81160a"
    models: ClassVar[str] = r"811[56]0A"
    Settings = Settings
    least_open_v: ClassVar[float] = 0.1
    level_grid_v: ClassVar[float] = 1e-3
    narrowest_s: ClassVar[float] = 4e-9
    time_grid_s: ClassVar[float] = 1e-10
    shortest_period_s: ClassVar[float] = 8.33e-9
    full_code: ClassVar[int] = 8191
    longest_waveform: ClassVar[int] = 131_072
    shortest_point_s: ClassVar[float] = 1e-9
    open_load: ClassVar[str] = "1E6"  # the largest that it knows

    _edge_s = 2.5e-9

    def _two_channels(self) -> bool:
        return cast(Settings, self.settings).channels == 2

    def _by_bus(self, channel: str) -> str:
        return f":ARM:SOUR{channel} MAN"

    def _shortest_gap_s(self) -> float:
        return 1.6 * self._edge_s

    def _off(self) -> Sequence[str]:
        return [f":OUTP{c} OFF" for c in self.channels]

    def check_start(self, programs: Mapping[str, ChannelSteps], sync: SyncPlan) -> None:
        """Refuse to be the master, besides lines that there are not."""
        super().check_start(programs, sync)
        if sync.role is SyncRole.MASTER:
            raise LimitError("trigger lines", 1, 0, "", where=self.name,
                             note="its trigger output follows every pulse; let another "
                             "instrument be the master")  # fmt: skip

    def _train_commands(self, channel: str, train: Train, sync: SyncPlan) -> None:
        c, d = channel, train.delivered
        arm = [f":ARM:SOUR{c} MAN"]
        if sync.role is SyncRole.FOLLOWER:
            # Trigger lines are pulled low: their pulses begin with the falling edge.
            arm = [f":ARM:SLOP{c} NEG", f":ARM:SOUR{c} EXT"]
        low = min(0.0, float(d.level_v.min()))
        high = max(0.0, float(d.level_v.max()))
        if train.codes is None:
            # The width of the train before may be longer than the new period.
            shortest = [f":PULS:WIDT{c} {number(self.narrowest_s)}"]
            self._send(
                f":FUNC{c} PULS", f":VOLT{c}:LIM:STAT OFF", f":VOLT{c}:HIGH {number(train.full_v)}",
                f":VOLT{c}:LOW 0", *shortest, f":PULS:PER{c} {number(float(d.period_s[0]))}",
                f":PULS:WIDT{c} {number(float(d.width_s[0]))}",
                f":FUNC{c}:PULS:TRAN {number(self._edge_s)}", *self._limits(c, low, high), *arm,
                f":BURS{c}:MODE TRIG", f":BURS{c}:NCYC {train.cycles}",
                f":BURS{c}:STAT ON",
            )  # fmt: skip
            return
        block = train.codes.astype(">i2")
        self.session.write_binary(f":DATA{c}:DAC VOLATILE,", block,
                                  SHORT_TIMEOUT_S + block.nbytes / 1e5)  # fmt: skip
        rate = 1.0 / (train.point_s * len(block))
        self._send(
            f":FUNC{c}:USER VOLATILE", f":FUNC{c} USER", f":VOLT{c}:LIM:STAT OFF",
            f":FREQ{c} {number(rate)}", f":VOLT{c}:HIGH {number(train.full_v)}",
            f":VOLT{c}:LOW {number(-train.full_v)}",
            *self._limits(c, -train.full_v, train.full_v), *arm,
            f":BURS{c}:MODE TRIG", f":BURS{c}:NCYC {train.cycles}",
                f":BURS{c}:STAT ON",
        )  # fmt: skip

    def _limits(self, c: str, low: float, high: float) -> list[str]:
        return [f":VOLT{c}:LIM:HIGH {number(high)}", f":VOLT{c}:LIM:LOW {number(low)}",
                f":VOLT{c}:LIM:STAT ON"]  # fmt: skip
