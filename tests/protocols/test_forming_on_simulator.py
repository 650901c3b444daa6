"""Forming, run end to end on simulated arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hil_protocols.loader import parse
from protocol_arrays import LIBRARY, run_on, simulated

from hil.capabilities import Range
from hil.limits import SafetyLimits
from hil.phases.forming import Forming, form
from hil.procedure import Procedure


def test_forming_stops_per_cell_and_leaves_the_conductance_that_the_gate_allows():
    backend, context = simulated("hfox-pristine", 8)
    with backend:
        outcome = run_on(backend, LIBRARY.load("forming"), context)
    assert (outcome["outcome"] == "ok").all()
    # 40 uA at the gate level of forming, 1 V of compliance voltage.
    assert outcome["g_after_siemens"] == pytest.approx(np.full((8, 8), 40e-6), rel=0.1)
    assert 1.7 < outcome["formed_v"].min() < 2.2 < outcome["formed_v"].max() < 3.0
    assert len(np.unique(outcome["formed_v"])) > 5
    assert (outcome["pulses"] == np.rint((outcome["formed_v"] - 1.5) / 0.12) + 1).all()


def test_forming_by_line_compliance_leaves_what_the_compliance_allows():
    backend, context = simulated("hfox-pristine", 4)
    procedure = parse(
        'schema = 1\nkind = "forming"\nlimit_by = "line"\ncompliance = "20 uA"\n'
        'gate_voltage = "3 V"\n'
    )
    with backend:
        outcome = run_on(backend, procedure, context)
    assert (outcome["outcome"] == "ok").all()
    assert outcome["g_after_siemens"] == pytest.approx(np.full((4, 4), 20e-6), rel=0.1)


def test_forming_says_which_cells_stay_pristine_and_which_meet_a_limit():
    backend, context = simulated("hfox-pristine", 8)
    with backend:
        low = run_on(backend, _Form(Forming(stop_v=2.3, compliance_a=np.inf)), context)
    assert set(np.unique(low["outcome"])) == {"ok", "not_formed"}
    assert np.isnan(low["formed_v"][low["outcome"] == "not_formed"]).all()
    backend, context = simulated("hfox-pristine", 8, limits=SafetyLimits(device_v=Range(-2.0, 2.3)))
    with backend:
        limited = run_on(backend, _Form(Forming(compliance_a=np.inf)), context)
    assert set(np.unique(limited["outcome"])) == {"ok", "limit"}


def test_a_formed_cell_is_left_alone():
    backend, context = simulated("hfox", 4)
    with backend:
        outcome = run_on(backend, LIBRARY.load("forming"), context)
    assert (outcome["outcome"] == "ok").all()
    assert (outcome["pulses"] == 0).all()
    assert (outcome["formed_v"] == 0).all()


class _Form(Procedure):
    name = kind = "forming"
    adaptive = True

    def __init__(self, settings: Forming) -> None:
        self.settings = settings

    def steps(self, context):
        return form(context, None, self.settings)
