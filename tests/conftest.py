from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# Numba compiles on the first call, which no deadline should count.
settings.register_profile("synapse-hil", deadline=None, max_examples=50)
settings.load_profile("synapse-hil")


@pytest.fixture(autouse=True)
def descriptors_are_closed_once(monkeypatch):
    """Fail a test that closes a descriptor twice: the second time it may be another's file."""
    close, twice = os.close, []

    def noting(fd):
        try:
            close(fd)
        except OSError as exc:
            if exc.errno == errno.EBADF:
                twice.append(fd)
            raise

    monkeypatch.setattr(os, "close", noting)
    yield
    assert twice == []


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261121)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.name == "nt" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on a POSIX system")
    command = [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


_BENCHMARKS = Path(__file__).with_name("bench")


def pytest_ignore_collect(collection_path, config):
    """Leave the benchmarks out unless they are named: ``pytest tests/bench``."""
    if collection_path != _BENCHMARKS:
        return None
    named = (Path(config.invocation_params.dir, arg.split("::")[0]) for arg in config.args)
    return None if any(path.resolve().is_relative_to(_BENCHMARKS) for path in named) else True
