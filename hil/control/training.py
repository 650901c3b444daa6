"""A whole training: characterise, make rules, initialise, train, compare with floating point."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hil.config.training import Training
from hil.control.array import SynapseArray
from hil.control.baseline import float_backpropagation
from hil.control.learners.making import make_learner, needs_response
from hil.control.network import ArrayNetwork
from hil.control.response import ResponseCurve, erases, measure_columns, measure_response
from hil.control.trainer import OnEvent, OnProgress, Trainer, TrainingHistory, sample_orders
from hil.datasets.dataset import Dataset
from hil.errors import ConfigError
from hil.learning.methods import ColumnSteps
from hil.learning.schedule import Annealing, ExponentialDecay, Schedule
from hil.program import FloatArray

#: Streams of random numbers of a training, all from its one seed.
INIT, ORDER, RULE = 1, 2, 3
#: Depression pulses before columns are measured, as a multiple of those of a mean device.
RESET_MARGIN = 1.5


@dataclass
class TrainingResult:
    """What a training gave.

    Attributes:
        history: epochs on the array.
        curves: measured response, one per matrix (layers, then their fast arrays), empty for
            methods that do not need it.
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


def _measure_steps(
    network: ArrayNetwork, curves: Sequence[ResponseCurve]
) -> tuple[list[ColumnSteps], int]:
    """Measure every column's step relative to its array's; return them and device pulses."""
    before = sum(b.ledger.device_pulses for layer in network.layers for b in layer.backends)
    steps = []
    for layer, curve in zip(network.layers, curves, strict=False):
        if erases(layer.context):
            layer.erase()
        else:
            full = np.full(
                (layer.n_inputs, layer.n_outputs), -math.ceil(RESET_MARGIN * curve.full_down)
            )
            layer.program_pairs(full, full)
        steps.append(measure_columns(layer, max(curve.full_up // 2, 1)))
    after = sum(b.ledger.device_pulses for layer in network.layers for b in layer.backends)
    return steps, after - before


def make_schedule(training: Training) -> Schedule:
    """Return the learning-rate schedule of a training file."""
    table = training.schedule
    if table.kind == "exponential":
        return ExponentialDecay(table.eta, table.decay)
    return Annealing(table.eta, table.epochs, table.final, table.kind)


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
        curves: a response measured before, one per matrix; None = it is measured now.
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
    characterise_pulses = 0
    steps = None
    if not needs_response(training):
        curves = ()
    elif curves is None:
        stage("characterise")
        curves, characterise_pulses = measure_layers(training, network.matrices)
        if training.rule.rate == "column":
            steps, pulses = _measure_steps(network, curves)
            characterise_pulses += pulses
    elif training.rule.rate == "column":
        raise ConfigError("given curves do not say what the columns do", field="rule.rate")
    for k, curve in enumerate(curves):
        event("response", {
            "layer": k, "low": curve.low, "high": curve.high, "step_up": curve.step_up,
            "step_down": curve.step_down, "pulses_up": curve.full_up,
            "pulses_down": curve.full_down,
        })  # fmt: skip
    learner = make_learner(training, network, curves, _stream(training.seed, RULE), steps)
    schedule = make_schedule(training)
    orders = sample_orders(
        len(dataset.x_train), training.schedule.epochs, training.schedule.samples,
        _stream(training.seed, ORDER),
    )  # fmt: skip
    trainer = Trainer(
        learner, dataset, schedule, orders, evaluate_every=training.evaluation.every,
        batch=training.evaluation.batch, on_progress=on_progress, on_event=on_event,
    )  # fmt: skip
    stage("initialise")
    weights = initial_weights(training, network)
    initial_pulses = learner.initialise(weights)
    event("initialised", {"pulses": initial_pulses})
    stage("train")
    history = trainer.run()
    float_accuracy: list[float] = []
    if training.baseline:
        stage("float")
        scaled = [layer.weight_scale * w for layer, w in zip(network.layers, weights, strict=True)]
        _, float_accuracy = float_backpropagation(
            dataset, scaled, schedule, orders, bias=training.network.bias
        )
        event("float", {"test_accuracy": float_accuracy})
    return TrainingResult(
        history, list(curves), characterise_pulses, initial_pulses, float_accuracy,
        time.perf_counter() - begin,
    )  # fmt: skip
