"""Gradient descent that drives chip tiles by pulses and changes digital parameters in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from hil.errors import ConfigError


class ChipSGD(torch.optim.Optimizer):
    """Stochastic gradient descent for networks with :class:`~hil.torch.tile.ChipTile` layers.

    Every sample of a batch is an update of its own, in order. Parameters of digital layers change
    by ``−lr · grad``. Learning-rate schedulers work.

    Args:
        params: ``model.parameters()``, or parameter groups.
        lr: learning rate.

    Raises:
        ConfigError: ``lr`` is negative or not finite.
    """

    def __init__(self, params: Iterable[Any], lr: float = 0.1) -> None:
        if not 0.0 <= lr < float("inf"):
            raise ConfigError(f"must be at least 0 and finite, got {lr:g}", field="lr")
        super().__init__(params, {"lr": lr})

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Drive the collected updates; return what ``closure`` returns.

        All errors have been read backward by now, as back-propagation asks for.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                tile = getattr(parameter, "hil_tile", None)
                if tile is not None:
                    tile.drive(float(group["lr"]))
                elif parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-group["lr"])
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients and the updates that were collected but not driven."""
        for group in self.param_groups:
            for parameter in group["params"]:
                tile = getattr(parameter, "hil_tile", None)
                if tile is not None:
                    tile.discard()
        super().zero_grad(set_to_none)
