"""A whole training: characterise, make rules, initialise, train, compare with floating point."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hil.config.training import Training
from hil.control import cautions
from hil.control.array import SynapseArray
from hil.control.baseline import float_backpropagation
from hil.control.learners.making import check_method, make_learner, needs_response
from hil.control.network import ArrayNetwork
from hil.control.response import ResponseCurve, erases, measure_columns, measure_response
from hil.control.states import State
from hil.control.trainer import (
    Checkpoints,
    OnEvent,
    OnProgress,
    Trainer,
    TrainingHistory,
    check_fits,
    sample_orders,
)
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


@dataclass
class _Known:
    """What is known before the first sample: response of the arrays, and pulses that it took."""

    curves: list[ResponseCurve]
    steps: list[ColumnSteps] | None = None
    characterise_pulses: int = 0
    initial_pulses: int = 0

    def state(self) -> State:
        """Return it for checkpoints; ResponseCurve and ColumnSteps hold arrays only."""
        return {
            "curves": [asdict(curve) for curve in self.curves],
            "steps": None if self.steps is None else [asdict(steps) for steps in self.steps],
            "characterise_pulses": self.characterise_pulses, "initial_pulses": self.initial_pulses,
        }  # fmt: skip

    @classmethod
    def of(cls, state: State) -> _Known:
        """Return what :meth:`state` returned."""
        steps = state["steps"]
        return cls(
            [ResponseCurve(**curve) for curve in state["curves"]],
            None if steps is None else [ColumnSteps(**columns) for columns in steps],
            state["characterise_pulses"], state["initial_pulses"],
        )  # fmt: skip


def _characterise(
    training: Training, network: ArrayNetwork, curves: Sequence[ResponseCurve] | None,
    stage: Callable[[str], None],
) -> _Known:  # fmt: skip
    """Measure what the method has to know of the arrays, where it was not measured before."""
    if not needs_response(training):
        return _Known([])
    if curves is not None:
        if training.rule.rate == "column":
            raise ConfigError("given curves do not say what the columns do", field="rule.rate")
        return _Known(list(curves))
    stage("characterise")
    measured, pulses = measure_layers(training, network.matrices)
    known = _Known(measured, None, pulses)
    if training.rule.rate == "column":
        known.steps, more = _measure_steps(network, measured)
        known.characterise_pulses += more
    return known


def train(
    training: Training,
    dataset: Dataset,
    network: ArrayNetwork,
    *,
    curves: Sequence[ResponseCurve] | None = None,
    on_progress: OnProgress | None = None,
    on_event: OnEvent | None = None,
    on_stage: Callable[[str], None] | None = None,
    checkpoints: Checkpoints | None = None,
    resume: State | None = None,
    reread: bool = False,
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
        checkpoints: takes the state now and then.
        resume: a state that ``checkpoints`` took; training goes on after its last sample.
        reread: the devices went on after that state, as real ones do.

    Raises:
        RunInterrupted: a stop was requested; the array is in the safe state.
        ConfigError, RuleError, BackendError: see the parts.
    """
    begin = time.perf_counter() - (0.0 if resume is None else resume["seconds"])
    stage = on_stage or (lambda name: None)
    event: OnEvent = on_event or (lambda kind, fields: None)
    check_fits(dataset, network)
    own = check_method(training, network)
    if resume is None:
        for text in cautions.of_dataset(training, dataset):
            event("warning", {"what": text})
        known = _characterise(training, network, curves, stage)
        for k, curve in enumerate(known.curves):
            event("response", {
                "layer": k, "low": curve.low, "high": curve.high, "step_up": curve.step_up,
                "step_down": curve.step_down, "pulses_up": curve.full_up,
                "pulses_down": curve.full_down,
            })  # fmt: skip
        for text in cautions.of_response(training, network.layers, known.curves):
            event("warning", {"what": text})
    else:
        known = _Known.of(resume["known"])
    learner = make_learner(
        training, network, known.curves, _stream(training.seed, RULE), known.steps, own
    )
    schedule = make_schedule(training)
    orders = sample_orders(
        len(dataset.x_train), training.schedule.epochs, training.schedule.samples,
        _stream(training.seed, ORDER),
    )  # fmt: skip
    trainer = Trainer(
        learner, dataset, schedule, orders, evaluate_every=training.evaluation.every,
        batch=training.evaluation.batch, on_progress=on_progress, on_event=on_event,
        checkpoints=checkpoints,
    )  # fmt: skip
    weights = initial_weights(training, network)
    if resume is None:
        stage("initialise")
        known.initial_pulses = learner.initialise(weights)
        event("initialised", {"pulses": known.initial_pulses})
    else:
        trainer.restore(resume["trainer"])
        if reread:
            learner.reread()
    if checkpoints is not None:
        checkpoints.beside(lambda: {
            "known": known.state(), "seconds": time.perf_counter() - begin,
        })  # fmt: skip
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
        history, known.curves, known.characterise_pulses, known.initial_pulses, float_accuracy,
        time.perf_counter() - begin,
    )  # fmt: skip
