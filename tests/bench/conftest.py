"""Fixtures of the benchmarks."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from hil.datasets.dataset import Dataset
from hil.datasets.sources import load_mnist


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    folder = os.environ.get("HIL_MNIST")
    if folder is None:
        pytest.skip("HIL_MNIST names no folder with MNIST's files")
    return load_mnist(folder)


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def printed(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="")

    return printed
