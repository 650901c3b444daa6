"""Keysight 33500B and 33600A waveform generators, SCPI."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, cast

from hil.capabilities import Range
from hil.config.quantities import Table
from hil.errors import ReadbackError
from hil_drivers.generators import PulseGenerator, Train
from hil_drivers.lowering import number
from hil_drivers.steps import ChannelCapabilities, SyncPlan, SyncRole
from hil_drivers.transport.session import SHORT_TIMEOUT_S

__all__ = ["Keysight33500B"]

_EDGE_S = 8.4e-9  # shortest edge (33500 Series operating and service guide, pulse)


class Settings(Table):
    """Settings of one 33500B: the load that its levels are meant for."""

    load: Literal["50", "inf"] = "inf"


class Keysight33500B(PulseGenerator):
    """Keysight 33500B (33509B … 33522B) and 33600A (33611A … 33622A) generators.

    Limits (33500 Series operating and service guide): 10 V into 50 ohm peak to peak, twice that
    into an open circuit, so +-5 V and +-10 V; pulses from 16 ns, edges 8.4 ns; waveforms of 8 to
    1 000 000 points of 4 ns or more, 16 bit; bursts of up to 10^8. The load is set before the
    levels. It can neither limit nor measure current.
    """

    driver: ClassVar[str] = "keysight-33500b"
    models: ClassVar[str] = r"33(5[0-2][0-9]|6[0-2][0-9])[AB]"
    Settings = Settings
    full_code = 32767
    longest_waveform = 1_000_000
    fewest_points = 8
    waveform_messages = 3
    shortest_point_s = 4e-9
    burst_cycles = 100_000_000

    def _two_channels(self) -> bool:
        model = "33522B" if self.identity is None else self.identity.model
        return model[4] == "2"

    @property
    def _full_v(self) -> float:
        return 5.0 if cast(Settings, self.settings).load == "50" else 10.0

    def _smallest_full_v(self) -> float:
        return 1e-3 if cast(Settings, self.settings).load == "50" else 2e-3

    def _shortest_gap_s(self) -> float:
        return 16e-9 + 2 * _EDGE_S

    def channel_capabilities(self, channel: str) -> ChannelCapabilities:
        """Return the limits at the load of the settings (operating and service guide, pulse)."""
        self._own(channel)
        return ChannelCapabilities(
            level_v=Range(-self._full_v, self._full_v, 1e-4),
            width_s=Range(16e-9, 1e3, 1e-9),
            compliance_a=Range(0.0, math.inf),
            sense_a=Range(0.0, 0.0),
            ranges_v=(self._full_v,),
            ranges_a=(),
            max_list_steps=self.burst_cycles,
            max_readings=0,
            min_period_s=33e-9,
            can_measure=False,
            can_limit_current=False,
            overhead_s=10e-3,
        )

    def reset_to_known(self) -> None:
        """Reset; load first, then levels; triggered by the bus; outputs off."""
        load = "50" if cast(Settings, self.settings).load == "50" else "INF"
        self._trains = None
        self._running = False
        commands = ["*RST", "*CLS", ":FORM:BORD NORM"]
        for c in self.channels:
            commands += [f":OUTP{c} OFF", f":OUTP{c}:LOAD {load}", f":TRIG{c}:SOUR BUS"]
        self._send(*commands)
        for c in self.channels:
            answer = float(self.session.query(f":OUTP{c}:LOAD?"))
            self._check_load(answer, load)
        self.check_errors("*RST")

    def _check_load(self, answer: float, load: str) -> None:
        right = math.isclose(answer, 50.0) if load == "50" else answer >= 9e37
        if not right:
            raise ReadbackError(f"{self.name}: load {load} was set, {answer:g} ohm is read back; "
                                f"the levels would be wrong")  # fmt: skip

    def _off(self) -> Sequence[str]:
        return (":ABOR", *(f":OUTP{c} OFF" for c in self.channels))

    def _output_queries(self) -> Sequence[str]:
        return [f":OUTP{c}?" for c in self.channels]

    def _train_commands(self, channel: str, train: Train, sync: SyncPlan) -> None:
        c, d = channel, train.delivered
        trigger = [f":TRIG{c}:SOUR {'EXT' if sync.role is SyncRole.FOLLOWER else 'BUS'}"]
        if sync.role is SyncRole.MASTER:
            trigger += [f":OUTP:TRIG:SOUR CH{c}", ":OUTP:TRIG ON"]
        burst = [f":SOUR{c}:BURS:MODE TRIG"]
        if train.codes is None:
            # The width of the train before may be longer than the new period.
            shortest = [f":SOUR{c}:FUNC:PULS:WIDT {number(16e-9)}"]
            self._send(
                f":SOUR{c}:FUNC PULS", f":SOUR{c}:VOLT:HIGH {number(train.full_v)}",
                f":SOUR{c}:VOLT:LOW 0", *shortest,
                f":SOUR{c}:FUNC:PULS:PER {number(float(d.period_s[0]))}",
                f":SOUR{c}:FUNC:PULS:WIDT {number(float(d.width_s[0]))}",
                f":SOUR{c}:FUNC:PULS:TRAN:BOTH {number(_EDGE_S)}", *burst,
                f":SOUR{c}:BURS:NCYC {train.cycles}", f":SOUR{c}:BURS:STAT ON", *trigger,
            )  # fmt: skip
            return
        self._send(f":SOUR{c}:DATA:VOL:CLE")
        block = train.codes.astype(">i2")
        self.session.write_binary(f":SOUR{c}:DATA:ARB:DAC HIL{c},", block,
                                  SHORT_TIMEOUT_S + block.nbytes / 1e5)  # fmt: skip
        rate = 1.0 / train.point_s
        self._send(
            f":SOUR{c}:FUNC:ARB HIL{c}", f":SOUR{c}:FUNC ARB", f":SOUR{c}:FUNC:ARB:FILT STEP",
            f":SOUR{c}:FUNC:ARB:SRAT {number(rate)}", f":SOUR{c}:VOLT:HIGH {number(train.full_v)}",
            f":SOUR{c}:VOLT:LOW {number(-train.full_v)}", *burst,
            f":SOUR{c}:BURS:NCYC {train.cycles}", f":SOUR{c}:BURS:STAT ON", *trigger,
        )  # fmt: skip
