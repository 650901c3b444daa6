"""The plan that is printed first: time, pulses and stress per device, part by part and in all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.characterise.parts import Protocol
from hil.control.bench import Planning
from hil.control.dryrun import check_and_count
from hil.control.forecast import forecast
from hil.control.session import Session
from hil.errors import EnduranceError
from hil.procedure import Procedure
from hil.registry import PROTOCOLS, load

#: What one part adds to a device, at most: forecast's name -> ours.
_MOST = {
    "device_pulses": "device_pulses",
    "most_pulses_on_a_device": "pulses",
    "most_half_selects_on_a_device": "half_selects",
    "worst_stress_v2s": "stress_v2s",
    "read_pulses": "read_pulses",
    "bytes": "bytes",
}


@dataclass
class PartPlan:
    """What a part would do, or why it is not run.

    ``pulses``, ``half_selects`` and ``stress_v2s`` (∫V²dt) are those of the device that gets most.
    ``selected`` are the pulses of all devices, (n_rows, n_cols), None where they are a forecast.
    """

    name: str
    kind: str
    devices: int
    seconds: float = 0.0
    device_pulses: int = 0
    pulses: int = 0
    half_selects: int = 0
    stress_v2s: float = 0.0
    read_pulses: int = 0
    bytes: int = 0
    state: str = "to do"
    why: str = ""
    selected: NDArray[np.int64] | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {name: getattr(self, name) for name in (
            "name", "kind", "devices", "state", "why", "seconds", "device_pulses", "pulses",
            "half_selects", "stress_v2s", "read_pulses", "bytes",
        )}  # fmt: skip


def procedure_of(protocol: Protocol) -> Procedure:
    """Return the procedure of a part's protocol; ProtocolError with the field that is wrong."""
    loaded: Procedure = load(PROTOCOLS, "library")().parse(protocol.text, f"{protocol.part}.toml")
    return loaded


def planned(
    session: Session, array: str | None, protocol: Protocol,
    check: Callable[[], None] | None = None,
) -> PartPlan:  # fmt: skip
    """Return what a part would do; nothing is driven.

    A static protocol is compiled, checked and counted; an adaptive one runs on simulated twins. On
    a rig the time is that of its own plan, relays and messages included.

    Raises:
        ProtocolError: it does not fit the array. LimitError: a step is out of range, or a device
        has not so many pulses left.
    """
    procedure = procedure_of(protocol)
    table = session.table(array)
    backend = session.backends[table.name]
    plan = PartPlan(protocol.part, protocol.kind, len(protocol.cells))
    if procedure.adaptive:
        numbers = forecast(session, procedure, array=array).numbers
    else:
        context = session.context(array)
        tell = None if check is None else (lambda so_far: check())
        exposure = check_and_count(procedure, context, backend, tell)
        numbers = exposure.numbers()
        plan.selected = exposure.ledger.selected()
        if isinstance(backend, Planning):
            numbers["seconds"] = backend.predicted_s(procedure.programme(context))
    plan.seconds = numbers["seconds"]
    for name, ours in _MOST.items():
        value = numbers[name]
        setattr(plan, ours, value if ours == "stress_v2s" else round(value))
    return plan


def total(plans: Sequence[PartPlan]) -> PartPlan:
    """Return the sum of the parts that are to be run; per device it is a bound.

    The pulses are those of the device that gets most in all of them together.
    """
    todo = [plan for plan in plans if plan.state == "to do"]
    out = PartPlan("in all", "", max((plan.devices for plan in plans), default=0))
    for name in ("seconds", "device_pulses", "half_selects", "stress_v2s", "read_pulses", "bytes"):
        setattr(out, name, sum(getattr(plan, name) for plan in todo))
    counted = [plan.selected for plan in todo if plan.selected is not None]
    out.selected = np.sum(counted, axis=0) if counted else None
    out.pulses = sum(plan.pulses for plan in todo if plan.selected is None)
    if out.selected is not None:
        out.pulses += int(out.selected.max())
    return out


def check_budget(session: Session, array: str | None, whole: PartPlan) -> None:
    """Refuse a characterisation that would take a device over its pulses, before any is driven.

    Raises:
        EnduranceError: says which device.
    """
    backend = session.backends[session.table(array).name]
    limit = backend.limits.pulses_per_device
    if limit == math.inf:
        return
    life = backend.ledger.life()
    own = np.zeros_like(life) if whole.selected is None else whole.selected
    unknown = whole.pulses - (0 if whole.selected is None else int(whole.selected.max()))
    after = np.where(backend.geometry.dead_mask, 0, life + own + unknown)
    if after.max() > limit:
        row, col = divmod(int(after.argmax()), backend.geometry.n_cols)
        raise EnduranceError(
            "pulses over the device's life, with all parts", int(after[row, col]), limit, "pulses",
            where=f"cell ({row}, {col})",
            note=f"{life[row, col]} of them so far; take fewer parts, cycles or pulses",
        )  # fmt: skip
