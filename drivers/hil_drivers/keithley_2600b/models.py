"""Limits of the 2600A/2600B models.

Ranges: 2600S-901-01 table 6-1 and 2600BS-901-01 rev. F p. 2-44. Smallest limit 10 nA: SPEC-2602B
rev. B p. 5. Buffers: more than 140 000 readings without time stamps and source values. Timers: 8,
delay lists with a mean of at least 50 us (2601B-PULSE-901-01A p. 11-359). Shortest programmable
pulse 100 us with 1 us resolution (data sheet, pulse characteristics). A measurement has to begin
its aperture and 60 us before the end of its pulse (vendor's KE26XXB_Pulsed_Sweep). Clock: 100 ppm
(time stamps, SPEC-2602B rev. B p. 11).
"""

from __future__ import annotations

from typing import Final

from hil.capabilities import Range
from hil_drivers.steps import ChannelCapabilities

#: Time between the end of a measurement's aperture and the end of its pulse.
MEASURE_MARGIN_S: Final = 60e-6
#: Set-up of a sweep by the script, a planning value.
SEGMENT_S: Final = 1e-3
MIN_NPLC: Final = 0.001
MAX_NPLC: Final = 25.0
#: 6 1/2 digits: 1 pA on the 1 uA range, which reads to 102 % (specifications, measurement).
COUNTS_A: Final = 1e6
#: Pulses of one run: two expanded columns per channel have to fit the script memory of 16 MB.
MAX_PULSES: Final = 20_000

_LOW_A = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_RANGES_V: Final = {"260": (0.1, 1.0, 6.0, 40.0), "261": (0.2, 2.0, 20.0, 200.0),
                    "263": (0.2, 2.0, 20.0, 200.0)}  # fmt: skip
_RANGES_A: Final = {"260": (*_LOW_A, 1.0, 3.0), "261": (*_LOW_A, 1.0, 1.5),
                    "263": (1e-9, 1e-8, *_LOW_A, 1.0, 1.5)}  # fmt: skip
#: Current that a source range can give: 2602B 3 A to 6 V, 1 A to 40 V; others 1.5 A, 100 mA.
_MAX_A: Final = {"260": {6.0: 3.0, 40.0: 1.0}, "261": {20.0: 1.5, 200.0: 0.1},
                 "263": {20.0: 1.5, 200.0: 0.1}}  # fmt: skip
#: Source programming resolution per range (specifications, voltage source).
_RESOLUTION_V: Final = {0.1: 5e-6, 1.0: 50e-6, 6.0: 50e-6, 40.0: 500e-6,
                        0.2: 5e-6, 2.0: 50e-6, 20.0: 500e-6, 200.0: 5e-3}  # fmt: skip


def family(model: str) -> str:
    """Return ``260``, ``261`` or ``263`` of a model such as 2636B."""
    return model[:3]


def channels(model: str) -> tuple[str, ...]:
    """Return the channels: models that end in 1 or 5 have one."""
    return ("a",) if model[3] in "15" else ("a", "b")


def has_digital_lines(model: str) -> bool:
    """2604B, 2614B and 2634B have no digital I/O (vendor's Software_trig_26x4B)."""
    return model[3] != "4"


def level_resolution_v(range_v: float) -> float:
    """Return the programming resolution of a source range in volts."""
    return _RESOLUTION_V[range_v]


def max_current_a(model: str, range_v: float) -> float:
    """Return the highest current limit of a source range in amperes."""
    by_range = sorted(_MAX_A[family(model)].items())
    return next(current_a for full_v, current_a in by_range if range_v <= full_v)


def capabilities(model: str, line_hz: float) -> ChannelCapabilities:
    """Return what a channel of ``model`` can do with a mains of ``line_hz``."""
    ranges_v = _RANGES_V[family(model)]
    ranges_a = _RANGES_A[family(model)]
    full_v = ranges_v[-1]
    return ChannelCapabilities(
        level_v=Range(-full_v, full_v, level_resolution_v(ranges_v[0])),
        width_s=Range(100e-6, 3600.0, 1e-6),
        compliance_a=Range(10e-9, ranges_a[-1]),
        sense_a=Range(-ranges_a[-1], ranges_a[-1], ranges_a[0] / COUNTS_A),
        ranges_v=ranges_v,
        ranges_a=ranges_a,
        max_list_steps=MAX_PULSES,
        max_readings=140_000,
        min_period_s=100e-6,
        min_measured_s=MIN_NPLC / line_hz + MEASURE_MARGIN_S,
        overhead_s=SEGMENT_S,
        counts_a=COUNTS_A,
        overrange_a=1.02,
        single_precision=True,
        clock_error=100e-6,
    )
