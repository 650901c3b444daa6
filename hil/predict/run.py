"""Predict: measure the simulated device's curves, train with it, write what came out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.control.placement import layer_sizes
from hil.datasets.sources import load_dataset
from hil.errors import ConfigError
from hil.locks import held
from hil.predict.inputs import Inputs, Wishes, write_inputs
from hil.predict.results import Method, curves_of, methods_of
from hil.predict.write import write_prediction
from hil.study.engines import Engine
from hil.study.run import OnPoint, run_study


@dataclass
class Prediction:
    """What came out.

    Attributes:
        folder: of the prediction.
        device: its name.
        about: data set, network and so on.
        methods: with their trainings.
        files: that were written: numbers, figures, the page.
    """

    folder: Path
    device: str
    about: dict[str, Any]
    methods: list[Method]
    files: list[Path]

    @property
    def failed(self) -> list[str]:
        """Why trainings failed."""
        return [f"{m.name}, {why}" for m in self.methods for why in m.failed]


def predict(
    wishes: Wishes, folder: Path, engine: Engine, on_point: OnPoint | None = None
) -> Prediction:
    """Predict what a device is worth; what an earlier call has run is not run again.

    Args:
        wishes: device, station, training.
        folder: of the prediction; made when missing.
        engine: who runs the trainings.
        on_point: see :func:`hil.study.run.run_study`.

    Raises:
        ConfigError: a file is wrong, or the network does not fit the station's arrays; or every
            training failed: says why.
        LockedError: another process predicts into the folder.
        StoreError: the folder cannot be written.
    """
    inputs = write_inputs(wishes, folder / "inputs")
    with held(folder / "predict.lock", f"prediction {folder.name}"):
        curves = run_study(inputs.curves, folder, engine, on_point)
        trained = run_study(inputs.trainings, folder, engine, on_point)
        methods = methods_of(trained.folder)
        if not any(method.trained for method in methods):
            # Where the learning rate is tuned first, it is those trainings that failed.
            why = next(iter((*trained.failed.values(), *methods[0].failed)), "none was run")
            raise ConfigError(f"no training ended: {why}", path=wishes.device)
        about = _about(wishes, inputs)
        if curves.failed:
            about["curves_failed"] = "; ".join(curves.failed.values())
        files = write_prediction(folder, inputs.name, about, methods, curves_of(curves.folder))
    return Prediction(folder, inputs.name, about, methods, files)


def _about(wishes: Wishes, inputs: Inputs) -> dict[str, Any]:
    training = inputs.training
    sizes = layer_sizes(training, load_dataset(training))
    network = "-".join(str(n) for n in (
        sizes[0][0] - int(training.network.bias), *(outputs for _, outputs in sizes)
    ))  # fmt: skip
    where = "arrays of the network's size" if wishes.station is None else str(wishes.station)
    return {
        "data_set": training.dataset.kind, "network": network,
        "epochs": training.schedule.epochs, "seeds": len(wishes.seeds),
        "station": where,
    }  # fmt: skip
