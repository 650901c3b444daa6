"""Keysight 81150A and 81160A pulse generators, SCPI."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, cast

from hil.capabilities import Range
from hil.config.quantities import Table
from hil.errors import LimitError, ReadbackError
from hil_drivers.generators import PulseGenerator, Train
from hil_drivers.lowering import number
from hil_drivers.steps import ChannelCapabilities, SyncPlan, SyncRole
from hil_drivers.transport.session import SHORT_TIMEOUT_S

__all__ = ["Keysight81160A"]


class Settings(Table):
    """Settings of one 81160A: the load that its levels are meant for (an array is no 50 ohm)."""

    load: Literal["50", "inf"] = "inf"


class Keysight81160A(PulseGenerator):
    """Keysight 81150A and 81160A pulse function generators.

    Limits (81150A/81160A user's guide, p. 142): +-5 V into 50 ohm, +-10 V into an open circuit;
    period from 8.33 ns (81150A) or 3.03 ns (81160A) and at least the width and 1.6 edges; edges
    from 1 ns; waveforms of up to 131 072 points, 14 bit, whose repetition rate is the frequency.
    The load is set before the levels, and the output's limits (``:VOLT:LIM``) before it is
    switched on. It can neither limit nor measure current.
    """

    driver: ClassVar[str] = "keysight-81160a"
    models: ClassVar[str] = r"811[56]0A"
    Settings = Settings
    full_code = 8191
    longest_waveform = 131_072
    shortest_point_s = 1e-9
    burst_cycles = 1_000_000

    _edge_s = 2.5e-9

    def _two_channels(self) -> bool:
        return True

    @property
    def _full_v(self) -> float:
        return 5.0 if cast(Settings, self.settings).load == "50" else 10.0

    def _smallest_full_v(self) -> float:
        return 50e-3 if cast(Settings, self.settings).load == "50" else 100e-3

    def _shortest_gap_s(self) -> float:
        return 1.6 * self._edge_s

    def channel_capabilities(self, channel: str) -> ChannelCapabilities:
        """Return the limits at the load of the settings (user's guide, p. 142)."""
        self._own(channel)
        return ChannelCapabilities(
            level_v=Range(-self._full_v, self._full_v, 1e-3),
            width_s=Range(4e-9, 1e3, 1e-10),
            compliance_a=Range(0.0, math.inf),
            sense_a=Range(0.0, 0.0),
            ranges_v=(self._full_v,),
            ranges_a=(),
            max_list_steps=self.burst_cycles,
            max_readings=0,
            min_period_s=8.33e-9,
            can_measure=False,
            can_limit_current=False,
            overhead_s=10e-3,
        )

    def reset_to_known(self) -> None:
        """Reset; load first, then levels; triggered by hand (bus); outputs off."""
        load = "50" if cast(Settings, self.settings).load == "50" else "1E6"
        self._trains = None
        self._running = False
        commands = ["*RST", "*CLS", ":FORM:BORD NORM"]
        for c in self.channels:
            commands += [f":OUTP{c} OFF", f":OUTP{c}:LOAD {load}", f":ARM:SOUR{c} MAN"]
        self._send(*commands)
        for c in self.channels:
            answer = float(self.session.query(f":OUTP{c}:LOAD?"))
            if not math.isclose(answer, float(load), rel_tol=0.01):
                raise ReadbackError(f"{self.name}: load {load} was set, {answer:g} ohm is read "
                                    f"back; the levels would be wrong")  # fmt: skip
        self.check_errors("*RST")

    def _off(self) -> Sequence[str]:
        return [f":OUTP{c} OFF" for c in self.channels]

    def _output_queries(self) -> Sequence[str]:
        return [f":OUTP{c}?" for c in self.channels]

    def _train_commands(self, channel: str, train: Train, sync: SyncPlan) -> None:
        c, d = channel, train.delivered
        if sync.role is SyncRole.MASTER:
            raise LimitError("trigger lines", 1, 0, "", where=f"{self.name}.{c}",
                             note="its trigger output follows every pulse; let another "
                             "instrument be the master")  # fmt: skip
        arm = f":ARM:SOUR{c} {'EXT' if sync.role is SyncRole.FOLLOWER else 'MAN'}"
        low = min(0.0, float(d.level_v.min()))
        high = max(0.0, float(d.level_v.max()))
        if train.codes is None:
            # The width of the train before may be longer than the new period.
            shortest = [f":PULS:WIDT{c} {number(4e-9)}"]
            self._send(
                f":FUNC{c} PULS", f":VOLT{c}:LIM:STAT OFF", f":VOLT{c}:HIGH {number(train.full_v)}",
                f":VOLT{c}:LOW 0", *shortest, f":PULS:PER{c} {number(float(d.period_s[0]))}",
                f":PULS:WIDT{c} {number(float(d.width_s[0]))}",
                f":FUNC{c}:PULS:TRAN {number(self._edge_s)}", *self._limits(c, low, high), arm,
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
            *self._limits(c, -train.full_v, train.full_v), arm,
            f":BURS{c}:MODE TRIG", f":BURS{c}:NCYC {train.cycles}",
                f":BURS{c}:STAT ON",
        )  # fmt: skip

    def _limits(self, c: str, low: float, high: float) -> list[str]:
        return [f":VOLT{c}:LIM:HIGH {number(high)}", f":VOLT{c}:LIM:LOW {number(low)}",
                f":VOLT{c}:LIM:STAT ON"]  # fmt: skip
