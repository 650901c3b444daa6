"""One process at a time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hil.errors import LockedError
from hil.locks import held

HOLD = """
import sys, time
from hil.locks import held
with held(sys.argv[1], "the smu"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_holder_is_refused_with_the_first_ones_process(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(LockedError, match=f"the smu is in use by process {first.pid} on "),
            held(tmp_path / "lock", "the smu"),
        ):
            pass
        first.kill()


def test_lock_of_a_killed_process_does_not_block(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    ) as first:
        first.stdout.readline()
        first.kill()
    with held(tmp_path / "lock", "the smu"):
        assert (tmp_path / "lock.holder").exists()
    assert not (tmp_path / "lock.holder").exists()


def test_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="x"), held(tmp_path / "lock", "it"):
        raise ValueError("x")
    with held(tmp_path / "lock", "it"):
        pass
