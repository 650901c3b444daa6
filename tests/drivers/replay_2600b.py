"""A 2600B that answers as it was written down, and what is uploaded to it."""

from __future__ import annotations

from hil_drivers.instrument import ChannelSteps, SyncPlan
from hil_drivers.keithley_2600b import Keithley2600B
from hil_drivers.keithley_2600b.lowering import deliver, lower
from hil_drivers.transport import ReplaySession
from hil_drivers.tsp import script

SCRIPT = script("hil_drivers.keithley_2600b", "run.tsp")
IDN = "Keithley Instruments Inc., Model 2602B, 1398687, 3.2.2"
RESET = (
    "reset()\nerrorqueue.clear()\nformat.data=format.REAL32\n"
    "format.byteorder=format.LITTLEENDIAN\n"
    "smua.source.offmode=smua.OUTPUT_HIGH_Z\nsmua.sense=smua.SENSE_LOCAL\n"
    "smub.source.offmode=smub.OUTPUT_HIGH_Z\nsmub.sense=smub.SENSE_LOCAL"
)
NO_ERROR = ("print(errorqueue.next())", "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00")
OPENING = [
    ("*IDN?", IDN),
    (RESET, None),
    (SCRIPT, None),
    ("print(hil_version,localnode.linefreq)", "2.00000e+00\t5.00000e+01"),
    NO_ERROR,
]
OFF = (
    "smua.abort() smua.source.levelv=0 smua.source.output=0\n"
    "smub.abort() smub.source.levelv=0 smub.source.output=0"
)
OUTPUTS = "print(smua.source.output,smub.source.output)"
WRITE_AND_READ = {
    "a": ChannelSteps.build([1.0, 0.1, 1.0, 0.1], 1e-3, 2e-3, repeat=[3, 1, 2, 1],
                            measure=[False, True, False, True], compliance_a=1e-4,
                            range_a=1e-5, aperture_s=2e-4),
    "b": ChannelSteps.build([-1.0, 0.0, -1.0, 0.0], 1e-3, 2e-3, repeat=[3, 1, 2, 1],
                            compliance_a=1e-3),
}  # fmt: skip


def opened(exchanges):
    smu = Keithley2600B("smu")
    session = ReplaySession.of([*OPENING, *exchanges])
    smu.open(session)
    return smu, session


def message(programs=WRITE_AND_READ, sync=None):
    return lowered(programs, sync).message


def lowered(programs, sync=None, model="2602B", **how):
    delivered = deliver(programs, model, 50.0, "smu")
    return lower(delivered, sync or SyncPlan(), model, 50.0, "smu", **how)
