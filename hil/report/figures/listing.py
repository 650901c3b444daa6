"""Which figures a run's data make, in the order of a report."""

from __future__ import annotations

from hil.report.figures.arrays import compliance_map, conductance_maps, pulse_map
from hil.report.figures.exposures import exposures
from hil.report.figures.history import history
from hil.report.figures.iv import iv
from hil.report.figures.lasting import disturb, endurance, retention
from hil.report.figures.ltp_ltd import ltp_ltd
from hil.report.figures.style import Drawing
from hil.report.figures.training import confusion, learning_curve
from hil.report.gather import Content


def drawings(content: Content) -> list[Drawing]:
    """Return the figures that ``content`` has data for."""
    made: list[Drawing] = []
    if content.learning:
        made.append(learning_curve(content.learning))
    if content.confusion is not None:
        made.append(confusion(content.confusion))
    made += [ltp_ltd(curve, where) for where, curve in content.ltp_ltd.items()]
    if content.iv is not None:
        made.append(iv(content.iv))
    if content.retention is not None:
        made.append(retention(content.retention))
    if content.endurance is not None:
        made.append(endurance(content.endurance))
    if content.disturb is not None:
        made.append(disturb(content.disturb))
    if content.pulse_map is not None:
        made.append(pulse_map(content.pulse_map))
    if content.history is not None:
        made.append(history(content.history))
    made += [conductance_maps(maps) for maps in content.maps]
    made += [exposures(received) for received in content.exposure if received.counts]
    made += [compliance_map(array, rows) for array, rows in content.compliance.items()]
    return made
