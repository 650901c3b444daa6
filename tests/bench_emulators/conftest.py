"""Sessions to emulated instruments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pyvisa
from hil_sim.virtual_bench import Bench

Open = Callable[..., Any]


@pytest.fixture
def visa() -> Iterator[Open]:
    """Open an instrument of a bench by name; closed at the end."""
    manager = pyvisa.ResourceManager("@py")
    opened = []

    def connect(bench: Bench, name: str, timeout_ms: int = 20_000) -> Any:
        resource = manager.open_resource(
            bench.resources[name], read_termination="\n", write_termination="\n",
            timeout=timeout_ms,
        )  # fmt: skip
        opened.append(resource)
        return resource

    yield connect
    for resource in opened:
        resource.close()
    manager.close()
