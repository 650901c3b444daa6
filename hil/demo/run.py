"""The demo: a network learns on simulated devices, recorded like a run on a rig."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from hil.backend import Backend
from hil.config.toml_file import validate_text
from hil.config.training import Training
from hil.control.network import ArrayNetwork
from hil.control.placement import Site, build_network, layer_sizes, lines_needed
from hil.control.recorder import Recorder
from hil.control.training import TrainingResult, train
from hil.datasets.dataset import Dataset
from hil.datasets.sources import load_dataset
from hil.demo.picture import draw
from hil.demo.result import DemoResult
from hil.program import FloatArray, Phase
from hil.record.folder import RunFolder
from hil.registry import backend_factory

DEVICE = "nonlinear"
#: What is recorded: characterisation (CALIBRATE, PROGRAM) in full, the training per operation.
LEVELS = {
    phase: "full" if phase in (Phase.CALIBRATE, Phase.PROGRAM) else "operation" for phase in Phase
}
#: Characterisation: 1200 pulses and reads of 8 devices in each of two arrays, twice, and about
#: 150 000 operations; rounded up.
ESTIMATE_BYTES = 32_000_000


class DemoProgress(Protocol):
    """Shows how far the demo is; called with samples done, samples in all, and a short note."""

    def __call__(self, done: float, total: float | None = None, note: str = "") -> None:
        """Show ``done`` of ``total`` with a note."""


def demo_training(method: str, seed: int | None = None) -> Training:
    """Return the demo's training file of ``m3`` or ``m1``, with another seed where one is given."""
    training = validate_text(demo_text(method), Training, f"{method}.toml")
    return training if seed is None else training.model_copy(update={"seed": seed})


def demo_text(method: str) -> str:
    """Return the text of the demo's training file of ``m3`` or ``m1``."""
    return (resources.files("hil.demo") / f"{method}.toml").read_text(encoding="utf-8")


def run_demo(
    out_dir: str | Path = "runs",
    *,
    seed: int | None = None,
    progress: DemoProgress | None = None,
    watch: Callable[[Iterable[Backend]], None] | None = None,
    started: Callable[[Path], None] | None = None,
    epochs: int | None = None,
    samples: int | None = None,
) -> DemoResult:
    """Characterise, train with M3, M1 and in floating point, record, and draw the picture.

    Everything random follows from ``seed``: the devices, the initial weights, the order of samples
    and the update bits; M1 gets the same devices, afresh, and the same conditions as M3.

    Args:
        out_dir: folder of all runs.
        seed: None = the shipped one.
        progress: shows how far it is.
        watch: called with the arrays' backends as they are opened, to be able to stop them.
        started: called with the run folder once it exists.
        epochs, samples: fewer epochs, and samples per epoch, than the shipped file says.

    Raises:
        RunInterrupted: a stop was requested; the run is closed as ``interrupted``.
        StoreError: the run cannot be recorded.
    """
    begin = time.perf_counter()
    show = progress or (lambda done, total=None, note="": None)
    trainings = {name: _shortened(demo_training(name, seed), epochs, samples)
                 for name in ("m3", "m1")}  # fmt: skip
    trainings["m1"] = trainings["m1"].model_copy(update={"baseline": False})
    dataset = load_dataset(trainings["m3"])
    folder = RunFolder.create(
        out_dir, "demo", kind="demo", backend="sim", simulated=True, levels=LEVELS,
        config={f"{name}.toml": demo_text(name).encode() for name in trainings},
        meta={"device": DEVICE, "dataset": dataset.name, "clock": "virtual",
              "epochs": trainings["m3"].schedule.epochs, "samples": samples},
        seeds={"training": trainings["m3"].seed, "split": trainings["m3"].dataset.split_seed},
        estimate_bytes=ESTIMATE_BYTES,
    )  # fmt: skip
    with folder:
        if started is not None:
            started(folder.path)
        recorder = Recorder(folder)
        stage = _Stages(folder, show, trainings["m3"], dataset)
        parts = [_part(trainings[name], dataset, recorder, stage, watch) for name in trainings]
    (m3, g, window, identity), (m1, *_) = parts
    result = DemoResult(
        m3, m1, g, window, 0.0, folder.path, folder.path / "demo.png", "sim", identity
    )
    draw(result, result.picture)
    return replace(result, seconds=time.perf_counter() - begin)


def _shortened(training: Training, epochs: int | None, samples: int | None) -> Training:
    changed = {"epochs": epochs, "samples": samples}
    schedule = training.schedule.model_copy(
        update={name: value for name, value in changed.items() if value is not None}
    )
    return training.model_copy(update={"schedule": schedule})


class _Stages:
    """Turns the two trainings' progress into one, and their events into the run's."""

    def __init__(
        self, folder: RunFolder, show: Callable[..., None], training: Training, dataset: Dataset
    ) -> None:
        self._folder, self._show = folder, show
        schedule = training.schedule
        per_epoch = min(schedule.samples or len(dataset.x_train), len(dataset.x_train))
        self._half = per_epoch * schedule.epochs
        self._at = self._last = 0
        self._note = ""

    def begin(self, training: Training) -> None:
        self._method = training.rule.method
        self._note = self._method
        self._folder.event("training", name=training.name, method=self._method)

    def end(self) -> None:
        self._at += self._half

    def stage(self, name: str) -> None:
        self._folder.event("stage", method=self._method, stage=name)
        if name != "train":
            self._show(self._last, 2 * self._half, f"{self._method} {name}")

    def progress(self, done: int, total: int) -> None:
        self._last = self._at + done
        self._show(self._last, 2 * self._half, self._note)

    def event(self, kind: str, fields: dict[str, Any]) -> None:
        self._folder.event(kind, method=self._method, **fields)
        if kind == "epoch":
            self._note = (
                f"{self._method} epoch {fields['epoch'] + 1}, test {fields['test_accuracy']:.1%}"
            )


def _part(
    training: Training,
    dataset: Dataset,
    recorder: Recorder,
    stages: _Stages,
    watch: Callable[[Iterable[Backend]], None] | None,
) -> tuple[TrainingResult, FloatArray, tuple[float, float], str]:
    factory = backend_factory("sim")
    stages.begin(training)
    with ExitStack() as stack:
        sites = []
        for k, size in enumerate(layer_sizes(training, dataset)):
            backend, op = factory.open_device(DEVICE, *lines_needed(size), seed=_seed(training, k))
            sites.append(Site(stack.enter_context(backend), op))
        if watch is not None:
            watch([site.backend for site in sites])
        network: ArrayNetwork = build_network(training, dataset, sites, recorder)
        result = train(
            training, dataset, network, on_progress=stages.progress, on_event=stages.event,
            on_stage=stages.stage,
        )  # fmt: skip
        g = network.layers[0].read()
        for k, layer in enumerate(network.layers):
            arrays: dict[str, Any] = {"weights": layer.weights(), **layer.backend.ledger.tables()}
            recorder.folder.checkpoint(f"{training.name}-layer{k}", **arrays)
        op = sites[0].op
        identity = "; ".join(dict.fromkeys(site.backend.identify() for site in sites))
    stages.end()
    return result, g, (op.g_min_siemens, op.g_max_siemens), identity


def _seed(training: Training, layer: int) -> int:
    """Return the seed of a layer's devices; arrays of one demo never share their devices."""
    return (training.seed << 8) + layer
