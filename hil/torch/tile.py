"""``ChipTile``: a torch linear layer whose products and updates happen on a synapse array."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from hil.control.array import SynapseArray
from hil.errors import ConfigError
from hil.learning.methods import METHODS, Method
from hil.program import FloatArray
from hil.torch.updating import PulsedUpdates

_FLOATS = (torch.float32, torch.float64)


class ChipTile(nn.Module):
    """A linear layer ``y = x W + b`` on an array: read forward, read backward, updated by pulses.

    The weights are conductances. The layer has no weight tensor; :meth:`weights` reads the array.
    Its one parameter, ``chip``, is empty and stands for the array: :class:`ChipSGD` sees by it
    which samples are to be driven, and ``chip.requires_grad_(False)`` freezes the weights. In
    :meth:`eval` mode gradients flow through the layer but no update is collected.

    Args:
        array: open, with pairs: a row per input (and one for the bias), a column pair per output.
        bias: the last row is a bias, always on.
        method: which device of a pair is pulsed: ``M1``, ``M2``, ``M3`` or ``M3'``.
        init_spread: initial weights are uniform within ± this share of the weight scale; None
            leaves the array as it is, until weights are programmed or loaded.
        input_range: magnitude of an input that drives a row fully; larger ones are refused. None =
            every sample is scaled to its largest magnitude, digitally.
        seed: of initial weights and update bits.
        refresh_every: samples between refreshes (M3, M3′), 0 = never.
        max_slots: most coincidences of one sample's update.
        pulses, devices: how the response is measured: pulses of a branch, devices.

    Raises:
        ConfigError: an argument is wrong, or the array has no pairs.
        BackendError: pulses do not move the devices as the method needs it.
    """

    def __init__(
        self,
        array: SynapseArray,
        *,
        bias: bool = True,
        method: Method = "M3",
        init_spread: float | None = 0.2,
        input_range: float | None = 1.0,
        seed: int = 0,
        refresh_every: int = 100,
        max_slots: int = 31,
        pulses: int = 256,
        devices: int = 8,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise ConfigError(f"{method!r} is none of {', '.join(METHODS)}", field="method")
        if input_range is not None and not (input_range > 0.0 and math.isfinite(input_range)):
            raise ConfigError(f"must be above 0, got {input_range:g}", field="input_range")
        if init_spread is not None and not 0.0 <= init_spread <= 0.5:
            raise ConfigError(f"must be within 0 … 0.5, got {init_spread:g}", field="init_spread")
        if refresh_every < 0:
            raise ConfigError(f"must be at least 0, got {refresh_every}", field="refresh_every")
        if array.n_inputs - bias < 1:
            raise ConfigError("a row is needed besides the bias row", field="array")
        self.array = array
        self.has_bias, self.input_range, self.method = bool(bias), input_range, method
        self.in_features, self.out_features = array.n_inputs - self.has_bias, array.n_outputs
        self.chip = nn.Parameter(torch.empty(0, dtype=torch.float64))
        self.chip.hil_tile = self
        self.updates = PulsedUpdates(
            array, method, np.random.default_rng([seed, 1]), refresh_every=refresh_every,
            max_slots=max_slots, pulses=pulses, devices=devices,
        )  # fmt: skip
        self._samples: list[tuple[FloatArray, FloatArray]] = []
        self.device_pulses = 0  #: write pulses so far, refresh included
        if init_spread is not None:
            shape = array.n_inputs, array.n_outputs
            rng = np.random.default_rng([seed, 0])
            self.program(array.weight_scale * rng.uniform(-init_spread, init_spread, shape))

    # -- products ---------------------------------------------------------------------------

    def forward(self, x: Any) -> Any:
        """Return (…, out_features) for inputs (…, in_features); one product per sample.

        Raises:
            ConfigError: no float tensor on the CPU, wrong width, NaN, or beyond ``input_range``.
        """
        self._check(x)
        if self._samples and self.training and torch.is_grad_enabled() and self.chip.grad is None:
            # Another optimiser would step over the empty parameter, and nothing would be learnt.
            raise ConfigError(
                f"the updates of {self.pending} samples were not driven: step with "
                "hil.torch.ChipSGD, or call discard()",
                field="ChipTile",
            )
        flat = x.reshape(-1, self.in_features)
        y = _Product.apply(flat, self.chip, self)
        return y.reshape(*x.shape[:-1], self.out_features)

    def _check(self, x: Any) -> None:
        if not isinstance(x, torch.Tensor):
            raise ConfigError(f"needs a tensor, got {type(x).__name__}", field="input")
        if x.device.type != "cpu":
            raise ConfigError(
                f"is on {x.device}; the array is driven from the CPU, pass input.cpu()",
                field="input",
            )
        if x.dtype not in _FLOATS:
            raise ConfigError(f"has dtype {x.dtype}, needs float32 or float64", field="input")
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ConfigError(
                f"has shape {tuple(x.shape)}, needs (…, {self.in_features})", field="input"
            )

    def _driven(self, x: Any) -> tuple[FloatArray, FloatArray]:
        """Return rows (batch, n_inputs) within ± 1, and the scale (batch, 1) taken off them."""
        values = x.detach().double().numpy()
        largest = np.abs(values).max(axis=1, keepdims=True, initial=0.0)
        if not np.isfinite(largest).all():
            raise ConfigError("has a value that is not finite", field="input")
        if self.input_range is None:
            scale = np.maximum(largest, 1.0) if self.has_bias else np.where(largest, largest, 1.0)
            always_on = 1.0 / scale
        else:
            if values.size and largest.max() > self.input_range * (1 + 1e-6):
                raise ConfigError(
                    f"reaches {largest.max():g}, input_range is {self.input_range:g}", field="input"
                )
            scale = np.full_like(largest, self.input_range)
            always_on = np.ones_like(scale)
        rows = np.clip(values / scale, -1.0, 1.0)  # float32 may round to just above the range
        if self.has_bias:
            rows = np.concatenate([rows, always_on], axis=1)
        return rows, scale

    # -- updates ----------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Samples whose update has not been driven yet."""
        return sum(len(x) for x, _ in self._samples)

    def _collect(self, rows: FloatArray, delta: FloatArray) -> None:
        self._samples.append((rows, delta))

    def drive(self, lr: float) -> int:
        """Drive the collected updates, ``W −= lr · ∂loss/∂W``, sample by sample; device pulses."""
        if not (lr >= 0.0 and math.isfinite(lr)):
            raise ConfigError(f"must be at least 0 and finite, got {lr:g}", field="lr")
        samples, self._samples = self._samples, []
        pulses = 0
        if lr > 0.0:
            for rows, delta in samples:
                pulses += self.updates.update(rows, delta, lr)
        self.device_pulses += pulses
        return pulses

    def discard(self) -> None:
        """Forget the collected updates."""
        self._samples = []

    # -- weights ----------------------------------------------------------------------------

    def weights(self) -> Any:
        """Return W (in_features + bias, out_features), read from the array now."""
        return torch.from_numpy(self.array.weights())

    def program(self, weights: Any) -> int:
        """Bring the pairs to ``weights`` (in_features + bias, out_features) by pulses.

        Open loop: the devices' own spread stays. The last row is the bias, in units of what a
        fully driven row gives. Returns the device pulses.

        Raises:
            ConfigError: wrong shape, or weights that pairs cannot have.
        """
        values = weights.detach().numpy() if isinstance(weights, torch.Tensor) else weights
        pulses = self.updates.program(np.asarray(values, dtype=np.float64))
        self.device_pulses += pulses
        return pulses

    def get_extra_state(self) -> dict[str, Any]:
        """Return what ``state_dict`` holds of the array: a reading of its weights, taken now."""
        return {"weights": self.weights(), "weight_scale": self.array.weight_scale}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Program the weights of a ``state_dict`` into the array, open loop.

        Raises:
            ConfigError: they are of another shape, or the pairs cannot have them.
        """
        self.discard()
        self.program(state["weights"])

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be copied or pickled: there is one array."""
        raise TypeError("a ChipTile is an array and cannot be copied; keep its state_dict()")

    def extra_repr(self) -> str:
        """Return what ``print(model)`` shows."""
        backend = self.array.backend
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.has_bias}, method={self.method}, backend={backend.name}"
        )


class _Product(torch.autograd.Function):
    """The array's product, its transpose read backward, and the samples kept for the update."""

    @staticmethod
    def forward(ctx: Any, x: Any, chip: Any, tile: ChipTile) -> Any:
        """Read ``x @ W`` for (batch, in_features)."""
        rows, scale = tile._driven(x)
        ctx.tile, ctx.rows, ctx.scale, ctx.training = tile, rows, scale, tile.training
        read = tile.array.forward(rows) if len(rows) else np.zeros((0, tile.out_features))
        return torch.from_numpy(np.ascontiguousarray(read * scale)).to(x.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, grad: Any) -> tuple[Any, Any, None]:
        """Read ``grad @ Wᵀ`` backward where it is needed, and keep what the update needs."""
        tile, errors = ctx.tile, np.ascontiguousarray(grad.detach().double().numpy())
        if not np.isfinite(errors).all():
            raise ConfigError("has a value that is not finite", field="gradient")
        back = None
        if ctx.needs_input_grad[0]:
            read = np.zeros((len(errors), tile.array.n_inputs))
            live = errors.any(axis=1)
            if live.any():
                read[live] = tile.array.backward(errors[live])
            back = torch.from_numpy(read[:, : tile.in_features].copy()).to(grad.dtype)
        chip = None
        if ctx.needs_input_grad[1]:
            chip = torch.zeros(0, dtype=torch.float64)
            if ctx.training:
                tile._collect(ctx.rows, -errors * ctx.scale)
        return back, chip, None
