from __future__ import annotations

import numpy as np
import pytest
from recording import make

from hil.errors import EnduranceError, StoreError
from hil.record import open_run
from hil.record.folder import RunFolder


def test_a_checkpoint_written_anew_is_the_one_that_counts(tmp_path):
    with make(tmp_path) as run:
        run.checkpoint("state-0", a=np.arange(3))
        run.checkpoint("state-1", a=np.arange(4))
        run.checkpoint("state-0", anew=True, a=np.arange(5))
        with pytest.raises(StoreError):
            run.checkpoint("state-0", a=np.arange(6))
    opened = open_run(run.path)
    assert [c.name for c in opened.checkpoints] == ["state-1", "state-0"]
    assert opened.checkpoints[-1].load()["a"].tolist() == [0, 1, 2, 3, 4]
    assert opened.verify() == ()


def test_dropped_checkpoints_are_gone_and_nobody_misses_them(tmp_path):
    run = make(tmp_path)
    run.checkpoint("state-0", a=1)
    run.checkpoint("weights", a=2)
    run.drop_checkpoints(["state-0", "state-1"])
    run.close("interrupted")
    opened = open_run(run.path)
    assert [c.name for c in opened.checkpoints] == ["weights"]
    assert opened.verify() == ()
    with RunFolder.reopen(run.path):
        pass
    assert open_run(run.path).verify() == ()


def test_a_run_that_used_up_a_device_says_so(tmp_path):
    with (
        pytest.raises(EnduranceError),
        make(tmp_path) as run,
    ):
        raise EnduranceError("pulses over the run", 11, 10, "pulses", where="cell (0, 1)")
    opened = open_run(run.path)
    assert opened.status == "endurance"
    assert "cell (0, 1)" in opened.stop["error"]
    assert "fault" not in [event["kind"] for event in opened.events]
