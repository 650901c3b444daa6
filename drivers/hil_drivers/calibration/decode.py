"""From what the meters show to the currents that would flow without the rig's errors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.measurement import MeasurementBlock
from hil_drivers.calibration.paths import without_paths

if TYPE_CHECKING:
    from hil_drivers.calibration.table import Calibration
    from hil_drivers.rig.job import Job
    from hil_drivers.router.wiring import Wiring

_SAME_RANGE = 0.01  # relative; ranges come back as float32


def corrected(
    rows: MeasurementBlock, job: Job, wiring: Wiring, calibration: Calibration
) -> tuple[MeasurementBlock, list[str]]:
    """Return the readings with corrected currents, and what could not be corrected.

    The corrected current is the one that would flow without leakage and path resistance. A range
    that was not calibrated is left as it is, and said.
    """
    notes: list[str] = []
    if not len(rows):
        return rows, notes
    channel = _channel_of_rows(rows, job)
    current = rows.current_a.copy()
    parts = _readings_per_row(rows, job)
    for index in np.unique(channel):
        corrections = calibration.channels.get(wiring.channels[index].name, ())
        mine = channel == index
        left = mine & np.isfinite(rows.range_a)
        for c in corrections:
            on_range = mine & np.isclose(rows.range_a, c.range_a, rtol=_SAME_RANGE)
            gain = 1.0 if c.gain is None else c.gain
            current[on_range] = (current[on_range] - parts[on_range] * c.offset_a) / gain
            left &= ~on_range
        notes += [
            f"not calibrated: {wiring.channels[index].name} on its {range_a:g} A range"
            for range_a in np.unique(rows.range_a[left]).tolist()
        ]
    geometry = wiring.geometry
    routes = np.array([channel, rows.line]).T
    for index, line in np.unique(routes, axis=0):
        leak = calibration.leaks_siemens.get(
            f"{geometry.line_name(int(line))} {wiring.channels[index].name}", 0.0
        )
        mine = (routes == (index, line)).all(axis=1)
        current[mine] -= leak * rows.level_v[mine]
    path = np.array(
        [calibration.paths_ohm.get(geometry.line_name(n), 0.0) for n in range(wiring.n_lines)]
    )
    current = without_paths(current, rows, job.asked, path, geometry)
    return replace(rows, current_a=current), notes


def _channel_of_rows(rows: MeasurementBlock, job: Job) -> NDArray[np.int64]:
    """Return the channel that took each row (of several added up, the first)."""
    step_channel = np.full(job.asked.state.shape, -1, dtype=np.int64)
    for stage in reversed(job.plan.stages):
        for step in range(stage.stop - 1, stage.start - 1, -1):
            step_channel[job.lowered.origin[step]] = stage.channel_of_line
    found: NDArray[np.int64] = step_channel[rows.step, rows.line]
    return found


def _readings_per_row(rows: MeasurementBlock, job: Job) -> NDArray[np.int64]:
    """Return how many readings were added up to each row; averages count as one."""
    counts = np.bincount(job.lowered.origin, minlength=job.asked.n_steps)
    return np.asarray(counts[rows.step])
