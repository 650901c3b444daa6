from __future__ import annotations

import numpy as np
import pytest
from recording import make

from hil.record import open_run


def one(row, v):
    return {"op": 1, "phase": 7, "row": row, "col": 2, "v": v, "width": 1e-6, "count": 1}


@pytest.mark.parametrize("ranges", [[], [(3, 7)], [(0, 10)], [(2, 4), (8, 10)], [(9, 10)]])
def test_readers_leave_undone_rows_out(tmp_path, ranges):
    with make(tmp_path) as run:
        for k in range(10):
            run.pulses(one(k % 2, 1.0 + k))
            if k in (2, 6):
                run.barrier()
        for first, last in ranges:
            run.event("undone", rows={"pulses": [first, last]})
    opened = open_run(run.path)
    standing = [k for k in range(10) if not any(a <= k < b for a, b in ranges)]
    assert np.allclose(opened.pulses["v"].to_numpy(), [1.0 + k for k in standing])
    assert opened.pulses["seq"].to_pylist() == standing
    history = opened.conductance_history(1, 2)
    assert history.seq.tolist() == [k for k in standing if k % 2]
    assert len(history.v) == len(history)
    assert opened.problems == ()
    assert opened.verify() == ()
