"""Who starts a run that several instruments take part in, and who waits for the trigger."""

from __future__ import annotations

from collections.abc import Mapping

from hil.errors import BackendError
from hil_drivers.rig.programs import Run
from hil_drivers.steps import SyncPlan, SyncRole


def sync_plans(run: Run, triggers: Mapping[str, str]) -> dict[str, SyncPlan]:
    """Return each instrument's part in a common start; ``triggers`` are lines by instrument.

    Raises:
        BackendError: several instruments take part and one has no trigger line.
    """
    names = list(run.programs)
    if len(names) == 1:
        return {names[0]: SyncPlan()}
    lacking = [n for n in names if n not in triggers]
    if lacking:
        raise BackendError(
            f"{' and '.join(names)} have to start together, but {lacking[0]} has no trigger line: "
            "wire one and name it by `trigger` in its [[instrument]]"
        )
    return {
        name: SyncPlan(SyncRole.MASTER if k == 0 else SyncRole.FOLLOWER, triggers[name], run.paced)
        for k, name in enumerate(names)
    }
