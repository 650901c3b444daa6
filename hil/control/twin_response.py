"""What a simulated array of a device does in the protocol ``ltp-ltd``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.control.opening import open_array
from hil.registry import PROTOCOLS, load


def twin_response(
    device: str | Path, *, pulses: int, cycles: int, rows: int = 16, cols: int = 16, seed: int = 0,
    read_every: int = 1,
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Run ``ltp-ltd`` on a simulated array; return its outcome (``cycle``, ``g_siemens``, …).

    Raises:
        ConfigError: the device file is wrong.
    """
    text = (
        f'schema = 1\nkind = "ltp-ltd"\ncycles = {cycles}\npulses = {pulses}\n'
        f'read_every = {read_every}\norder = "interleaved"\ndepression = "pulses"\n'
    )
    procedure = load(PROTOCOLS, "library")().parse(text, "ltp-ltd")
    with open_array(device, rows, cols, seed=seed) as array:
        outcome = array.run(procedure).outcome
    return {name: np.asarray(value) for name, value in outcome.items()}
