"""A whole training: characterise, make rules, initialise, train, compare with floating point."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hil.config.training import Training
from hil.control.array import SynapseArray
from hil.control.baseline import float_backpropagation
from hil.control.network import ArrayNetwork
from hil.control.preparation import initialise
from hil.control.refresh import Refresh
from hil.control.response import ResponseCurve, measure_response
from hil.control.trainer import OnEvent, OnProgress, Trainer, TrainingHistory, sample_orders
from hil.datasets.dataset import Dataset
from hil.errors import BackendError
from hil.learning.loading import load_rule
from hil.learning.methods import PairRule, step_per_coincidence
from hil.learning.rule import UpdateRule
from hil.learning.schedule import ExponentialDecay
from hil.learning.triggers import (
    ProductThreshold,
    SeparableThresholds,
    StochasticCoincidence,
    Trigger,
)
from hil.program import FloatArray

#: Streams of random numbers of a training, all from its one seed.
INIT, ORDER, RULE = 1, 2, 3


@dataclass
class TrainingResult:
    """What a training gave.

    Attributes:
        history: epochs on the array.
        curves: measured response, one per layer.
        characterise_pulses, initial_pulses: device pulses before the first sample.
        float_accuracy: test accuracy of floating-point back-propagation per epoch, empty without.
        seconds: wall-clock time in all.
    """

    history: TrainingHistory
    curves: list[ResponseCurve]
    characterise_pulses: int
    initial_pulses: int
    float_accuracy: list[float]
    seconds: float


def _stream(seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose])


def measure_layers(
    training: Training, layers: Sequence[SynapseArray]
) -> tuple[list[ResponseCurve], int]:
    """Measure the response on every array once; return a curve per layer, and device pulses."""
    table = training.characterise
    known: dict[int, ResponseCurve] = {}
    pulses = 0
    for layer in layers:
        if id(layer.backend) not in known:
            before = layer.backend.ledger.device_pulses
            known[id(layer.backend)] = measure_response(
                layer, devices=table.devices, pulses=table.pulses, cycles=table.cycles,
                reads=table.reads,
            )  # fmt: skip
            pulses += layer.backend.ledger.device_pulses - before
    return [known[id(layer.backend)] for layer in layers], pulses


def make_rule(training: Training, scale: float, curve: ResponseCurve) -> UpdateRule:
    """Return the rule of a layer, its rate tied to the mean step of the layer's devices.

    Raises:
        ConfigError: a rule of the user's own that cannot be loaded.
        BackendError: the method needs a direction in which the devices do not move.
    """
    table = training.rule
    if table.rule is not None:
        return load_rule(table.rule, table.options)
    trigger: Trigger
    if table.trigger == "T1":
        trigger = ProductThreshold(table.theta or 0.0)
    elif table.trigger == "T2":
        trigger = SeparableThresholds(table.theta_x or 0.0, table.theta_delta or 0.0)
    else:
        up = down = table.mean_step or 0.0
        if table.mean_step is None:
            up, down = curve.step_up, curve.step_down
        step = step_per_coincidence(table.method, up, down)
        if not step > 0.0:
            raise BackendError(
                f"method {table.method} needs depression pulses, and they do not lower the "
                "conductance of these devices"
            )
        trigger = StochasticCoincidence(
            training.schedule.eta, scale * step, slots=table.slots, max_slots=table.max_slots
        )
    return PairRule(table.method, trigger, dead_zone=table.dead_zone)


def initial_weights(training: Training, network: ArrayNetwork) -> list[FloatArray]:
    """Return random weights per layer as shares of the window, uniform within ± init_spread."""
    rng, spread = _stream(training.seed, INIT), training.network.init_spread
    return [
        rng.uniform(-spread, spread, (layer.n_inputs, layer.n_outputs)) for layer in network.layers
    ]


def train(
    training: Training,
    dataset: Dataset,
    network: ArrayNetwork,
    *,
    curves: Sequence[ResponseCurve] | None = None,
    on_progress: OnProgress | None = None,
    on_event: OnEvent | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> TrainingResult:
    """Train ``network`` through pulses as a training file says, and the float baseline beside it.

    Args:
        training: the training file.
        dataset: samples.
        network: on open arrays, see :func:`hil.control.placement.build_network`.
        curves: a response measured before, one per layer; None = it is measured now.
        on_progress: called with (samples done, samples in all).
        on_event: called with a kind and its fields, fits ``RunFolder.event``.
        on_stage: called with ``characterise``, ``initialise``, ``train``, ``float`` as they begin.

    Raises:
        RunInterrupted: a stop was requested; the array is in the safe state.
        ConfigError, RuleError, BackendError: see the parts.
    """
    begin = time.perf_counter()
    stage = on_stage or (lambda name: None)
    event: OnEvent = on_event or (lambda kind, fields: None)
    layers, characterise_pulses = network.layers, 0
    if curves is None:
        stage("characterise")
        curves, characterise_pulses = measure_layers(training, layers)
    curves = list(curves)
    for k, curve in enumerate(curves):
        event("response", {
            "layer": k, "low": curve.low, "high": curve.high, "step_up": curve.step_up,
            "step_down": curve.step_down, "pulses_up": curve.full_up,
            "pulses_down": curve.full_down,
        })  # fmt: skip
    rules = [
        make_rule(training, layer.weight_scale, curve)
        for layer, curve in zip(layers, curves, strict=True)
    ]
    table = training.effective_refresh
    refresh = None
    if table is not None:
        refresh = Refresh(
            layers, curves, training.rule.method, threshold=table.threshold, floor=table.floor,
            mode=table.mode, passes=table.passes, margin=table.reset_margin,
        )  # fmt: skip
    schedule = ExponentialDecay(training.schedule.eta, training.schedule.decay)
    orders = sample_orders(
        len(dataset.x_train), training.schedule.epochs, training.schedule.samples,
        _stream(training.seed, ORDER),
    )  # fmt: skip
    trainer = Trainer(
        network, rules, dataset, schedule, orders, _stream(training.seed, RULE), refresh=refresh,
        refresh_every=table.every if table else 1, evaluate_every=training.evaluation.every,
        batch=training.evaluation.batch, on_progress=on_progress, on_event=on_event,
    )  # fmt: skip
    stage("initialise")
    weights = initial_weights(training, network)
    margin = table.reset_margin if table else 1.5
    initial_pulses = initialise(layers, curves, training.rule.method, weights, margin=margin)
    event("initialised", {"pulses": initial_pulses})
    stage("train")
    history = trainer.run()
    float_accuracy: list[float] = []
    if training.baseline:
        stage("float")
        scaled = [layer.weight_scale * w for layer, w in zip(layers, weights, strict=True)]
        _, float_accuracy = float_backpropagation(
            dataset, scaled, schedule, orders, bias=training.network.bias
        )
        event("float", {"test_accuracy": float_accuracy})
    return TrainingResult(
        history, curves, characterise_pulses, initial_pulses, float_accuracy,
        time.perf_counter() - begin,
    )  # fmt: skip
