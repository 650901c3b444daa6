"""Arrays of every cell kind, limits that just fit their operating points, and closed loops."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from hil_protocols.provider import LibraryProvider

from hil.backend import Backend
from hil.capabilities import Capabilities, Range
from hil.geometry import CELL_KINDS, ArrayGeometry
from hil.limits import LimitChecker, SafetyLimits
from hil.operating import OperatingPoint
from hil.phases.schemes import worst_half_select_v
from hil.procedure import ArrayContext, Procedure, Steps

LIBRARY = LibraryProvider()
#: Presets of the three cell kinds, for tests on simulated devices.
PRESETS = ["nonlinear", "hfox", "gated-schottky"]

POINTS = {
    "1R": OperatingPoint(
        g_min_siemens=1e-6, g_max_siemens=1e-4, read_v=0.2, potentiate_v=2.0, depress_v=-2.0,
        write_s=1e-6, form_v=3.0, form_s=1e-5, form_compliance_a=1e-4, gap_s=1e-6,
    ),
    "1T1R": OperatingPoint(
        g_min_siemens=1e-6, g_max_siemens=1e-4, read_v=0.2, potentiate_v=1.0, depress_v=-1.2,
        write_s=1e-6, form_v=3.0, form_s=1e-5, form_compliance_a=1e-4, gate_read_v=3.0,
        gate_write_v=2.5, gate_form_v=1.0, inhibit="gate-off", gap_s=1e-6,
    ),
    "3T": OperatingPoint(
        g_min_siemens=1e-10, g_max_siemens=1e-8, read_v=1.0, potentiate_v=8.0, depress_v=-8.0,
        write_s=1e-4, erase_v=10.0, erase_s=1e-3, gap_s=1e-6,
    ),
}  # fmt: skip


def limits_of(op: OperatingPoint, headroom: float = 1.0) -> SafetyLimits:
    """Limits that allow what the operating point says, times ``headroom``, and nothing more."""
    top = max(op.potentiate_v, op.read_v, op.form_v)
    write = max(op.potentiate_v, -op.depress_v, op.form_v)
    level = max(write / 2, op.read_v, op.erase_v, op.gate_read_v, op.gate_write_v, op.gate_form_v)
    half = worst_half_select_v(op.inhibit, write)
    return SafetyLimits(
        level_v=Range(-headroom * level, headroom * level),
        device_v=Range(headroom * op.depress_v, headroom * top),
        half_select_v=headroom * half * (1 + 1e-9),
        erase_v=Range(-1e-9 - headroom * write, headroom * max(op.erase_v, 1e-9)),
        width_s=Range(0.0, 10 * max(op.read_s, op.write_s, op.erase_s, op.form_s)),
        compliance_a=math.inf,
    )


@dataclass(frozen=True)
class Setup:
    """An array to compile for."""

    context: ArrayContext
    checker: LimitChecker

    @property
    def cell(self) -> str:
        return self.context.geometry.cell.name


def setup_of(
    cell: str, n: int = 4, *, capabilities: Capabilities | None = None, headroom: float = 1.0,
    cols: int | None = None,
) -> Setup:  # fmt: skip
    geometry = ArrayGeometry(n, n if cols is None else cols, CELL_KINDS[cell])
    caps = Capabilities() if capabilities is None else capabilities
    op = POINTS[cell]
    limits = limits_of(op, headroom)
    context = ArrayContext(geometry, op, caps, limits, seed=5)
    return Setup(context, LimitChecker(geometry, limits, caps))


def drive(backend: Backend, steps: Steps) -> dict:
    """Run a generator to its end on an open backend; return its outcome."""
    try:
        block = next(steps)
        while True:
            block = steps.send(backend.run_block(block))
    except StopIteration as stop:
        return dict(stop.value)


def run_on(backend: Backend, procedure: Procedure, context: ArrayContext) -> dict:
    if not procedure.adaptive:
        backend.check(procedure.programme(context))
    return drive(backend, procedure.steps(context))


def simulated(preset: str, n: int = 8, seed: int = 3, **options: object):
    from hil_sim.factory import SimFactory

    backend, op = SimFactory().open_device(preset, n, n, seed=seed, **options)
    context = ArrayContext(backend.geometry, op, backend.capabilities, backend.limits, seed=seed)
    return backend, context


def quiet(setup: Setup, **changes: object) -> ArrayContext:
    return replace(setup.context, op=replace(setup.context.op, **changes))


def total(blocks, what: str) -> int:
    """Sum a property of blocks."""
    return sum(int(getattr(b, what)) for b in blocks)


def device_pulses(context: ArrayContext, blocks) -> np.ndarray:
    """Selected write pulses that every device gets."""
    from hil.ledger import Ledger

    ledger = Ledger(context.geometry)
    for block in blocks:
        ledger.add(block)
    return ledger.selected()
