"""PyTorch layers whose weights live on a synapse array: extra ``torch``.

:class:`ChipTile` is a linear layer; :class:`ChipSGD` sends its updates as pulses.
"""

from __future__ import annotations

from hil.errors import BackendUnavailable

try:
    import torch as _torch  # noqa: F401
except ImportError as exc:
    raise BackendUnavailable(
        f"hil.torch needs PyTorch ({exc}); install it with: pip install 'synapse-hil[torch]'"
    ) from exc

from hil.torch.optimiser import ChipSGD
from hil.torch.tile import ChipTile

__all__ = ["ChipSGD", "ChipTile"]
