"""What the runs of a prediction gave: curves of the device, and numbers per method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.predict.inputs import METHODS
from hil.record.reader import Run, open_run
from hil.report.learning import Confusion, LearningCurve, confusion, learning_curves
from hil.report.pulse_curves import LtpLtd, ltp_ltd
from hil.report.recorded import Recorded
from hil.study.folder import StudyFolder
from hil.study.points import COUNT
from hil.study.table import Mean

Floats = NDArray[np.float64]
#: Numbers of a method, in the order of the tables -> what they are called.
NUMBERS: Final = {
    "test_accuracy": "test accuracy",
    "float_accuracy": "floating point, same network",
    "write_pulses_per_device": "update pulses per device",
    "refresh_pulses_per_device": "refresh pulses per device",
    "most_pulses_on_a_device": "most of both on a device",
    "half_selects": "half-selects",
    "energy_joule": "energy",
    "pulse_seconds": "time of the pulses and reads alone",
    "rig_seconds": "time on the station's rig",
}


@dataclass(frozen=True, eq=False)
class Trained:
    """One training: its seed, run, numbers, course and what it took the test samples for."""

    seed: int
    run: str
    numbers: dict[str, float]
    curve: LearningCurve
    confusion: Confusion | None
    pulses: NDArray[np.int64]  #: per device of all arrays, those before the learning too
    rig_note: str = ""


@dataclass
class Method:
    """A method: its trainings, and why others of it failed."""

    name: str
    trained: list[Trained] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    tuned: dict[str, Any] = field(default_factory=dict)

    def means(self) -> dict[str, Mean]:
        """Return the mean of every number that the trainings gave, over the seeds."""
        found = {}
        for name in NUMBERS:
            values = [t.numbers[name] for t in self.trained if name in t.numbers]
            if values:
                found[name] = Mean.of(values)
        return found

    @property
    def rig_note(self) -> str:
        """Why the time on the rig is not known, "" where it is."""
        return next((t.rig_note for t in self.trained if t.rig_note), "")


def methods_of(folder: StudyFolder) -> list[Method]:
    """Return what the trainings of a study gave, by method."""
    found = {name: Method(name) for name in METHODS}
    for point in folder.listed():
        if point.stage != COUNT:
            continue
        method = found[str(point.settings["case"])]
        method.tuned |= point.tuned
        state = folder.point(point.id)
        run = state.done
        if run is None:
            method.failed.append(f"seed {point.seed}: {state.failure or 'was not run'}")
        else:
            method.trained.append(_trained(point.seed, open_run(run)))
    return list(found.values())


def curves_of(folder: StudyFolder) -> LtpLtd | None:
    """Return the curves that the other study measured, None where it failed."""
    for point in folder.listed():
        run = folder.point(point.id).done
        if run is not None:
            return ltp_ltd(Recorded(open_run(run)).checkpoint("outcome"))
    return None


def _trained(seed: int, run: Run) -> Trained:
    recorded = Recorded(run)
    result, costs = ((recorded.events(kind) or [{}])[-1] for kind in ("result", "costs"))
    numbers = {
        name: float(value) for name in NUMBERS
        if isinstance(value := {**costs, **result}.get(name), int | float)
    }  # fmt: skip
    numbers["pulse_seconds"] = _pulse_seconds(run)
    pulses = [
        (tables["selected_plus"].astype(np.int64) + tables["selected_minus"]).ravel()
        for checkpoint in run.checkpoints if checkpoint.name.startswith("ledger-")
        for tables in [recorded.checkpoint(checkpoint.name)]
    ]  # fmt: skip
    return Trained(
        seed, str(run.path), numbers, learning_curves(recorded)[0],
        confusion(recorded.checkpoint("predictions")),
        np.concatenate(pulses) if pulses else np.zeros(0, np.int64),
        str(result.get("rig_note") or ""),
    )  # fmt: skip


def _pulse_seconds(run: Run) -> float:
    """Return how long the blocks took on the run's clock, which is simulated."""
    return float(sum(batch.column("duration_s").to_numpy().sum() for batch in run.batches("ops")))


def course_of(curves: Sequence[LearningCurve]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return epochs, and mean, lowest and highest accuracy of trainings after each."""
    table = np.array([c.test_accuracy for c in curves])
    epoch = curves[0].epoch.astype(np.float64)
    return epoch, table.mean(axis=0), table.min(axis=0), table.max(axis=0)


def as_dict(method: Method) -> dict[str, Any]:
    """Return a method as plain values."""
    return {
        "method": method.name, "tuned": method.tuned,
        "numbers": {name: asdict(mean) for name, mean in method.means().items()},
        "rig_note": method.rig_note, "failed": method.failed,
        "runs": [{"seed": t.seed, "run": t.run, **t.numbers} for t in method.trained],
    }  # fmt: skip
