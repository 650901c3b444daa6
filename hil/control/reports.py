"""What a session says of a run that is over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hil.control.runner import ProcedureResult

if TYPE_CHECKING:
    from hil.control.rig_clock import RigTime
    from hil.control.training import TrainingResult


@dataclass(frozen=True)
class RunReport:
    """A protocol that was run: where it is recorded and what it gave."""

    run: Path
    backend: str
    identity: str
    simulated: bool
    result: ProcedureResult


@dataclass(frozen=True)
class TrainReport:
    """A training that was run: where it is recorded and what it gave.

    ``rig`` is what it would take on the instruments of the station, of simulated ones only.
    """

    run: Path
    backend: str
    identity: str
    simulated: bool
    result: TrainingResult
    rig: RigTime | None = None
