"""Keysight 33500B and 33600A waveform generators, SCPI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hil_drivers.generators import PulseGenerator, Train
from hil_drivers.lowering import number
from hil_drivers.steps import SyncPlan, SyncRole
from hil_drivers.transport.session import SHORT_TIMEOUT_S

__all__ = ["Keysight33500B"]

_EDGE_S = 8.4e-9  # shortest edge (33500 Series operating and service guide, pulse)


class Keysight33500B(PulseGenerator):
    """Keysight 33500B (33509B … 33522B) and 33600A (33611A … 33622A) generators.

    Limits (33500 Series operating and service guide): 10 V into 50 ohm peak to peak, twice that
    into an open circuit, so +-5 V and +-10 V; pulses from 16 ns, edges 8.4 ns; waveforms of 8 to
    1 000 000 points of 4 ns or more, 16 bit; bursts of up to 10^8. The load is set before the
    levels. It can neither limit nor measure current. ``EXT`` starts a whole run.
    """

    driver: ClassVar[str] = "keysight-33500b"
    models: ClassVar[str] = r"33(5[0-2][0-9]|6[0-2][0-9])[AB]"
    least_open_v: ClassVar[float] = 2e-3
    level_grid_v: ClassVar[float] = 1e-4
    narrowest_s: ClassVar[float] = 16e-9
    time_grid_s: ClassVar[float] = 1e-9
    shortest_period_s: ClassVar[float] = 33e-9
    full_code: ClassVar[int] = 32767
    longest_waveform: ClassVar[int] = 1_000_000
    fewest_points: ClassVar[int] = 8
    waveform_messages: ClassVar[int] = 3
    shortest_point_s: ClassVar[float] = 4e-9
    burst_cycles: ClassVar[int] = 100_000_000
    open_load: ClassVar[str] = "INF"

    def _two_channels(self) -> bool:
        # 33510B, 33512B, 33520B, 33522A/B, 33612A and 33622A have two.
        model = "33522B" if self.identity is None else self.identity.model
        return model[4] in "02"

    def _by_bus(self, channel: str) -> str:
        return f":TRIG{channel}:SOUR BUS"

    def _shortest_gap_s(self) -> float:
        return self.narrowest_s + 2 * _EDGE_S

    def _off(self) -> Sequence[str]:
        return (":ABOR", *(f":OUTP{c} OFF" for c in self.channels))

    def _train_commands(self, channel: str, train: Train, sync: SyncPlan) -> None:
        c, d = channel, train.delivered
        # Trigger lines are pulled low: their pulses begin with the falling edge.
        trigger = [":OUTP:TRIG OFF", f":TRIG{c}:SOUR BUS"]
        if sync.role is SyncRole.FOLLOWER:
            trigger = [":OUTP:TRIG OFF", f":TRIG{c}:SLOP NEG", f":TRIG{c}:SOUR EXT"]
        if sync.role is SyncRole.MASTER:
            trigger += [f":OUTP:TRIG:SOUR CH{c}", ":OUTP:TRIG:SLOP NEG", ":OUTP:TRIG ON"]
        burst = [f":SOUR{c}:BURS:MODE TRIG"]
        if train.codes is None:
            # The width of the train before may be longer than the new period.
            shortest = [f":SOUR{c}:FUNC:PULS:WIDT {number(self.narrowest_s)}"]
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
