"""The fixture that makes small simulated arrays."""

from __future__ import annotations

from typing import Any

import pytest
from hil_sim.models.device import Device
from simulated import Bench


@pytest.fixture
def bench():
    made: list[Bench] = []

    def make(device: str | Device, rows: int = 3, cols: int = 3, **options: Any) -> Bench:
        made.append(Bench(device, rows, cols, **options))
        return made[-1]

    yield make
    for one in made:
        one.backend.close()
