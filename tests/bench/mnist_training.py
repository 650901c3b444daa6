"""A network on simulated arrays that learns MNIST, recorded per operation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hil_sim.backend import SimBackend

from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.learners.making import make_learner
from hil.control.learners.pair_updates import PairUpdates
from hil.control.placement import Site, build_network, layer_sizes, lines_needed
from hil.control.recorder import Recorder
from hil.control.response import ResponseCurve
from hil.control.training import initial_weights, measure_layers
from hil.datasets.dataset import Dataset
from hil.record import RunFolder
from hil.registry import backend_factory

ETA = 0.143
TRAINING = """\
schema = 1
[network]
hidden = [200]
[rule]
method = "{method}"
[schedule]
eta = 0.143
[refresh]
every = {every}
[characterise]
pulses = 300
"""


@dataclass
class Prepared:
    """A network on simulated arrays, recorded per operation, after its initial weights."""

    learner: PairUpdates
    curves: list[ResponseCurve]
    backends: list[SimBackend]
    scales: tuple[float, ...]


@contextmanager
def prepared(
    folder: Path, dataset: Dataset, method: str = "M3", every: int = 100
) -> Iterator[Prepared]:
    training = validate_text(TRAINING.format(method=method, every=every), Training)
    with ExitStack() as stack:
        run = RunFolder.create(
            folder, "bench", kind="train", backend="sim", simulated=True, levels="operation"
        )
        recorder = Recorder(stack.enter_context(run))
        sites, backends = [], []
        for k, size in enumerate(layer_sizes(training, dataset)):
            backend, op = backend_factory("sim").open_device(
                "nonlinear", *lines_needed(size), seed=k + 1
            )
            backends.append(backend)
            sites.append(Site(stack.enter_context(backend), op))
        network = build_network(training, dataset, sites, recorder)
        curves, _ = measure_layers(training, network.matrices)
        learner = make_learner(training, network, curves, np.random.default_rng(1))
        learner.initialise(initial_weights(training, network))
        learner.set_rate(ETA)
        yield Prepared(learner, curves, backends, training.network.scales)


def cpu_s(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = action()
    return time.process_time() - start, result
