"""Pulses of whole rows, counted as rows at first, are those of their devices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hil.geometry import ArrayGeometry
from hil.ledger import Ledger
from hil.operating import OperatingPoint
from hil.phases.writing import CoincidenceUpdate

GEOMETRY = ArrayGeometry(6, 5)
OP = OperatingPoint(potentiate_v=2.0, depress_v=-2.1, write_s=1e-6, gap_s=1e-6)


def test_updates_of_whole_rows_are_counted_as_blocks_without_a_template():
    rng = np.random.default_rng(2)
    update = CoincidenceUpdate(GEOMETRY, OP, np.arange(6))
    lines = update.col_lines(np.arange(5))
    quick, general = Ledger(GEOMETRY), Ledger(GEOMETRY)
    for n in range(40):
        rows = rng.random((2, 6)) < 0.6
        cols = (rng.random((2, 5)) < 0.6) | (n % 2 == 0)  # every other block: all columns
        block = update.block(1 if n % 3 else -1, rows, (cols, lines))
        if block is None:
            continue
        quick.add(block)
        general.add(replace(block, template=None, switched=False))
        if n % 10 == 0:
            assert np.array_equal(quick.selected(), general.selected())
    assert quick.device_pulses == general.device_pulses == quick.selected().sum()
    for name in ("selected_plus", "selected_minus", "selected_v2s", "selected_s"):
        assert np.array_equal(getattr(quick, name), getattr(general, name))
