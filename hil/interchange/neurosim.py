"""Devices to and from NeuroSim: the values of ``Param``/``Cell`` as assignments.

MLP+NeuroSim V3 sets them in the constructors of ``Cell.cpp`` (``RealDevice``, or ``MeasuredDevice``
with arrays of conductances), DNN+NeuroSim V2.1 as arguments of its training script
(``max_level``, ``nonlinearityLTP``, ``c2cVari`` …). Names and meanings are those of the published
programs; the nonlinearity label has a closed form (:mod:`hil_sim.models.conversions`).
"""

from hil.interchange.neurosim_labels import LABELS
from hil.interchange.neurosim_reading import import_
from hil.interchange.neurosim_writing import export

__all__ = ["LABELS", "export", "import_"]
