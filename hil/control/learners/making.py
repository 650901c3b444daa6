"""Make the learner that a training file asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from hil.config.training import Training
from hil.control.learners.base import Learner
from hil.control.network import ArrayNetwork
from hil.control.response import ResponseCurve
from hil.errors import BackendError, ConfigError
from hil.learning.loading import load_rule
from hil.learning.methods import ColumnSteps, Method, PairRule, step_per_coincidence
from hil.learning.rule import UpdateRule
from hil.learning.triggers import (
    ProductThreshold,
    SeparableThresholds,
    StochasticCoincidence,
    Trigger,
)
from hil.learning.trying import try_rule

#: Weight transfer by write-verify: share of the window, and pulses on a device at most.
TOLERANCE: Final = 0.01
MOST_PULSES: Final = 2000


def needs_response(training: Training) -> bool:
    """Return whether the method has to know what a pulse does to a device."""
    rule = training.rule
    if rule.method == "weight-transfer":
        return rule.weight_transfer.mode == "open-loop"
    return rule.method != "float"


def load_own_rule(training: Training) -> UpdateRule:
    """Return a new rule of the user's own class, which the training file names.

    Raises:
        ConfigError: it cannot be loaded; names the training file.
    """
    table = training.rule
    try:
        return load_rule(table.rule or "", table.options)
    except ConfigError as exc:
        raise ConfigError(exc.message, path=training.path, field=exc.field) from exc


def check_method(training: Training, network: ArrayNetwork) -> list[UpdateRule]:
    """Check what can be known before anything is driven; return the layers' own rules, if any.

    A rule of the user's own is made for every layer, and a copy of it tried.

    Args:
        training: the training file.
        network: it is not driven.

    Raises:
        ConfigError: the method does not suit the network, or the rule cannot be loaded.
        RuleError: the rule raises or returns something that cannot be turned into pulses.
    """
    table, layers = training.rule, network.layers
    if table.method == "direct-gradient":
        from hil.control.learners.direct_gradient import check_size

        check_size(network, table.direct_gradient.max_weights)
    elif table.method == "threshold":
        from hil.control.learners.threshold import check_devices

        check_devices(network)
    if table.rule is None:
        return []
    rules = [load_own_rule(training) for _ in layers]
    for k, (rule, layer) in enumerate(zip(rules, layers, strict=True)):
        try_rule(rule, layer.n_inputs, layer.n_outputs, k, training.schedule.eta)
    return rules


def make_rule(
    training: Training, scale: float, curve: ResponseCurve, steps: ColumnSteps | None = None
) -> UpdateRule:
    """Return the rule of a layer, its rate tied to the mean step of the layer's devices.

    Args:
        training: the training file.
        scale: weight scale of the layer.
        curve: measured response of the layer's devices.
        steps: measured steps of the layer's columns, for ``rate = "column"``.

    Raises:
        ConfigError: a rule of the user's own that cannot be loaded.
        BackendError: the method needs a direction in which the devices do not move.
    """
    table = training.rule
    if table.rule is not None:
        return load_own_rule(training)
    trigger: Trigger
    if table.trigger == "T1":
        trigger = ProductThreshold(table.theta or 0.0)
    elif table.trigger == "T2":
        trigger = SeparableThresholds(table.theta_x or 0.0, table.theta_delta or 0.0)
    else:
        trigger = _stochastic(training, table.pairs, scale, curve, training.schedule.eta)
    return PairRule(table.pairs, trigger, dead_zone=table.dead_zone, steps=steps)


def _stochastic(
    training: Training, method: Method, scale: float, curve: ResponseCurve, eta: float
) -> StochasticCoincidence:
    table = training.rule
    up = down = table.mean_step or 0.0
    if table.mean_step is None:
        up, down = curve.step_up, curve.step_down
    step = step_per_coincidence(method, up, down)
    if not step > 0.0:
        raise BackendError(
            f"method {table.method} needs depression pulses, and they do not lower the "
            "conductance of these devices"
        )
    return StochasticCoincidence(
        eta, scale * step, slots=table.slots, max_slots=table.max_slots, balanced=table.balanced
    )


def make_learner(
    training: Training,
    network: ArrayNetwork,
    curves: Sequence[ResponseCurve],
    rng: np.random.Generator,
    steps: Sequence[ColumnSteps] | None = None,
    own: Sequence[UpdateRule] = (),
) -> Learner:
    """Return the learner of ``rule.method``.

    Args:
        training: the training file.
        network: on open arrays.
        curves: measured response of :meth:`~hil.control.network.ArrayNetwork.matrices`, in order;
            none for methods that do not need it.
        rng: the run's random bits.
        steps: measured steps of the layers' columns, for ``rate = "column"``.
        own: rules of the layers that :func:`check_method` made, to be used.

    Raises:
        ConfigError: the method does not suit the arrays.
        BackendError: the method needs a direction in which the devices do not move.
    """
    table = training.rule
    if table.method == "float":
        from hil.control.learners.float_weights import FloatBackpropagation

        return FloatBackpropagation(network)
    if table.method == "weight-transfer":
        from hil.control.learners.weight_transfer import WeightTransfer
        from hil.phases.verify_settings import WriteVerify

        transfer = table.weight_transfer
        if transfer.mode == "open-loop":
            return WeightTransfer(network, curves=curves)
        return WeightTransfer(
            network,
            WriteVerify(
                tolerance_fraction=transfer.tolerance or TOLERANCE,
                max_pulses=transfer.max_pulses or MOST_PULSES,
            ),
        )
    if table.method == "manhattan":
        from hil.control.learners.manhattan import Manhattan

        return Manhattan(network, curves, table.manhattan.batch)
    if table.method == "threshold":
        from hil.control.learners.threshold import ThresholdLearning

        settings = table.threshold
        return ThresholdLearning(
            network, curves, threshold=settings.threshold, margin=settings.margin
        )  # fmt: skip
    if table.method == "direct-gradient":
        from hil.control.learners.direct_gradient import DirectGradient

        direct = table.direct_gradient
        return DirectGradient(
            network, curves, rng, batch=direct.batch, pulses=direct.pulses,
            max_weights=direct.max_weights,
        )  # fmt: skip
    return _pair_updates(training, network, curves, rng, steps, own)


def _pair_updates(
    training: Training,
    network: ArrayNetwork,
    curves: Sequence[ResponseCurve],
    rng: np.random.Generator,
    steps: Sequence[ColumnSteps] | None,
    own: Sequence[UpdateRule],
) -> Learner:
    from hil.control.learners.pair_updates import PairUpdates
    from hil.control.learners.progressive import ProgressiveBackpropagation
    from hil.control.learners.tiki_taka import TikiTaka
    from hil.control.refresh import Refresh

    table, layers = training.rule, network.layers
    if table.method == "tiki-taka":
        fast = network.fast
        settings = table.tiki_taka
        return TikiTaka(
            network,
            [make_rule(training, a.weight_scale, c)
             for a, c in zip(fast, curves[len(layers):], strict=True)],
            [PairRule("M2", _stochastic(training, "M2", layer.weight_scale, c,
                                        settings.transfer_rate))
             for layer, c in zip(layers, curves, strict=False)],
            curves, rng, transfer_every=settings.transfer_every,
            transfer_rate=settings.transfer_rate, symmetry_pulses=settings.symmetry_pulses,
        )  # fmt: skip
    if steps is not None and table.method == "M3c":
        steps = [columns.symmetric() for columns in steps]
    rules = list(own) or [
        make_rule(training, layer.weight_scale, curve, None if steps is None else steps[k])
        for k, (layer, curve) in enumerate(zip(layers, curves, strict=True))
    ]
    made = ProgressiveBackpropagation if table.method == "progressive" else PairUpdates
    refresh = training.effective_refresh
    if refresh is None:
        return made(network, rules, curves, table.pairs, rng)
    return made(
        network, rules, curves, table.pairs, rng,
        refresh=Refresh(
            layers, curves, table.pairs, threshold=refresh.threshold, floor=refresh.floor,
            mode=refresh.mode or "open-loop", passes=refresh.passes or 1,
            margin=refresh.reset_margin, base=refresh.base,
        ),
        refresh_every=refresh.every, exchange_every=refresh.exchange_every,
        margin=refresh.reset_margin, base=refresh.base,
    )  # fmt: skip
