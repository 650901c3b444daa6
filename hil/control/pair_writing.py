"""Write the devices of pairs to given conductances, each with read-verify-write."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.control.array import SynapseArray
from hil.errors import ConfigError, RunInterrupted
from hil.phases.verify_settings import WriteVerify
from hil.program import FloatArray


@dataclass(frozen=True, slots=True)
class Written:
    """What it took: device pulses, devices, and how many ended within the tolerance."""

    pulses: int
    devices: int
    within: int


def write_pairs(
    layer: SynapseArray,
    plus: FloatArray | None,
    minus: FloatArray | None,
    settings: WriteVerify | None = None,
) -> Written:
    """Bring the devices of all pairs to shares of the window, (n_inputs, n_outputs) each.

    A side that is None is left alone. On an array with block erase the blocks are erased first.

    Raises:
        ConfigError: the pairs sit on two arrays.
        RunInterrupted: a stop was requested.
    """
    pairs = layer.context.pairs
    if pairs is None or pairs.minus_array:
        raise ConfigError("read-verify-write needs pairs on one array", field="placement.pairs")
    siemens = np.zeros(layer.geometry.shape)
    mask = np.zeros(layer.geometry.shape, dtype=np.bool_)
    for u, cols in ((plus, pairs.plus_cols), (minus, pairs.minus_cols)):
        if u is not None:
            at = np.ix_(pairs.rows, cols)
            siemens[at] = layer.op.g_min_siemens + layer.window_siemens * u
            mask[at] = True
    before = layer.backend.ledger.device_pulses
    result = layer.write(siemens, mask=mask, settings=settings)
    if result.interrupted:
        raise RunInterrupted("stopped on request, in the safe state")
    return Written(
        layer.backend.ledger.device_pulses - before,
        int(result.outcome["n_cells"]), int(result.outcome["n_ok"]),
    )  # fmt: skip
