"""Weight transfer: trained in floating point, written once, never trained in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hil.control.array import SynapseArray
from hil.control.learners.base import Learner
from hil.control.learners.float_weights import FloatBackpropagation
from hil.control.network import ArrayNetwork
from hil.control.pair_writing import write_pairs
from hil.control.preparation import initialise, pair_targets
from hil.control.response import ResponseCurve
from hil.control.states import State
from hil.datasets.dataset import Dataset
from hil.phases.verify_settings import WriteVerify


class WeightTransfer(FloatBackpropagation):
    """Ex-situ training: the weights of a floating-point network, written once.

    F. Alibart, E. Zamanidoost, D. B. Strukov, "Pattern classification by memristive crossbar
    circuits using ex situ and in situ training", Nature Communications 4, 2072 (2013). |W| is put
    on one device of the pair, the other stays at the lower end of the window; weights beyond the
    weight scale are cut to it, and :meth:`finish` says how many.

    Args:
        network: on open arrays, pairs on one array.
        settings: of write-verify, per device; None = open loop, by ``curves``.
        curves: measured response, one per layer; open loop needs them.
    """

    def __init__(
        self,
        network: ArrayNetwork,
        settings: WriteVerify | None = None,
        curves: Sequence[ResponseCurve] = (),
    ) -> None:
        super().__init__(network)
        self.settings, self.curves = settings, curves
        self._written = False

    @property
    def matrices(self) -> tuple[SynapseArray, ...]:
        """Every matrix of pairs: they are written in the end."""
        return self.network.matrices

    @property
    def ready(self) -> bool:
        """Whether the weights are on the arrays."""
        return self._written

    def state(self) -> State:
        """Return the weights and whether they are on the arrays."""
        return super().state() | {"written": self._written}

    def restore(self, state: State) -> None:
        """Go on from :meth:`state`."""
        super().restore(state)
        self._written = state["written"]

    def finish(self) -> dict[str, Any]:
        """Write all weights; return how many were cut, and devices within the tolerance."""
        shares = [
            w / layer.weight_scale
            for layer, w in zip(self.network.layers, self.weights, strict=True)
        ]
        cut = sum(int((np.abs(share) > 1.0).sum()) for share in shares)
        shares = [np.clip(share, -1.0, 1.0) for share in shares]
        self._written = True
        if self.settings is None:
            self.work.write += initialise(self.network.layers, self.curves, "M3", shares)
            return {"weights_cut": cut}
        devices = within = 0
        for layer, share in zip(self.network.layers, shares, strict=True):
            plus, minus = pair_targets("M3", share)
            done = write_pairs(layer, plus, minus, self.settings)
            self.work.write += done.pulses
            devices += done.devices
            within += done.within
        return {"devices": devices, "devices_within_tolerance": within, "weights_cut": cut}

    def accuracy(self, dataset: Dataset, *, batch: int = 128) -> float:
        """Return the share of test samples that the arrays classify right, read now."""
        return Learner.accuracy(self, dataset, batch=batch)
