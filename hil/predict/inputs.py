"""The files that a prediction runs: device, station, training, and two studies over them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hil.config.station import Station, load_station
from hil.config.toml_file import is_file_name, parse_text, read_text, validate_text
from hil.config.training import Training, load_training
from hil.control.bench import Planning
from hil.control.opening import make_backend
from hil.control.placement import layer_sizes, lines_needed
from hil.datasets.sources import load_dataset
from hil.errors import ConfigError, StoreError
from hil.extras import needed_for
from hil.registry import backend_factory
from hil.study.file import Study, load_study

METHODS: Final = ("M1", "M3")
CURVES, TRAININGS = "curves", "trainings"  #: names of the studies
#: Learning rates that tuning tries.
RATE: Final = "training.schedule.eta"
RATES: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
#: Pulses of a curve where the device file does not say how many states there are, and at most.
_PULSES, _MOST_PULSES = 100, 512
_CYCLES: Final = 5


@dataclass(frozen=True)
class Wishes:
    """What to predict.

    Attributes:
        device: a device file, or a preset's name.
        station: whose arrays, limits and rig are used; None = arrays of the network's size.
        training: a training file to start from; None = the usual one.
        mnist: folder with MNIST's files; None = the training's data set, the shipped digits.
        hidden, epochs: of the network and its training; None = the usual.
        seeds: devices and weights; as many as there are.
        devices: simulated devices whose curves are drawn.
        tune: choose every method's learning rate on a validation part first, by trainings of half
            as many epochs.
    """

    device: str
    station: Path | None = None
    training: Path | None = None
    mnist: Path | None = None
    hidden: tuple[int, ...] | None = None
    epochs: int | None = None
    seeds: tuple[int, ...] = (1, 2, 3)
    devices: int = 256
    tune: bool = True


@dataclass(frozen=True)
class Inputs:
    """Two studies, their files written: the device's curves, and the trainings."""

    name: str
    device: Mapping[str, Any]
    training: Training
    curves: Study
    trainings: Study


def write_inputs(wishes: Wishes, folder: Path) -> Inputs:
    """Check everything and write the files into ``folder``.

    Raises:
        ConfigError: a file is wrong, or the network does not fit the station's arrays.
        BackendUnavailable: the extra ``study`` is not installed.
        StoreError: the folder cannot be written.
    """
    with needed_for("predict", "study"):
        import tomli_w
    text = device_text(wishes.device)
    backend_factory("sim").open_device(wishes.device, 1, 1, seed=0)  # it is a good device file
    device = tomllib.loads(text)
    training = _training(wishes)
    dataset = load_dataset(training)
    sizes = [lines_needed(size) for size in layer_sizes(training, dataset)]
    if wishes.station is None:
        station: dict[str, Any] = {
            "schema": 1, "name": "network", "backend": "sim",
            "array": [
                {"name": f"layer-{k}", "rows": rows, "cols": cols, "cell": device.get("cell", "1R"),
                 "device": "device.toml"}
                for k, (rows, cols) in enumerate(sizes)
            ],
        }  # fmt: skip
    else:
        station = _of_station(wishes.station, device)
    side = max(round(wishes.devices**0.5), 1)
    array = {
        "schema": 1, "name": "curves", "backend": "sim",
        "array": [{"rows": side, "cols": side, "cell": device.get("cell", "1R"),
                   "device": "device.toml"}],
    }  # fmt: skip
    protocol = {"schema": 1, "kind": "ltp-ltd", "name": "curves", "cycles": _CYCLES,
                "pulses": pulses_of(device)}  # fmt: skip
    learning = training.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_unset=True
    )
    studies = _studies(wishes, training)
    files = {
        "device.toml": text, "station.toml": tomli_w.dumps(station),
        "training.toml": tomli_w.dumps(learning), "curves-station.toml": tomli_w.dumps(array),
        "curves.toml": tomli_w.dumps(protocol),
        **{f"{name}-study.toml": tomli_w.dumps(study) for name, study in studies.items()},
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8", newline="\n")
    except OSError as exc:
        raise StoreError(f"cannot write {folder}: {exc.strerror or exc}") from exc
    validate_text(files["station.toml"], Station, folder / "station.toml")
    loaded = [load_study(folder / f"{name}-study.toml") for name in studies]
    return Inputs(str(device.get("name", "device")), device, training, *loaded)


def device_text(device: str) -> str:
    """Return the text of a device file, or of a preset of that name.

    Raises:
        ConfigError: there is none.
    """
    if is_file_name(device) or Path(device).is_file():
        return read_text(device)
    shipped = getattr(backend_factory("sim"), "device_text", None)
    if shipped is None:
        raise ConfigError(f"{device!r} is no file", field="device")
    return str(shipped(device))


def pulses_of(device: Mapping[str, Any]) -> int:
    """Return how many pulses cross the range of a device, by its states."""
    states = [
        float(branch["states"]) for name in ("potentiation", "depression")
        if isinstance(branch := device.get(name), dict) and "states" in branch
    ]  # fmt: skip
    return min(max(round(max(states)), 8), _MOST_PULSES) if states else _PULSES


def _training(wishes: Wishes) -> Training:
    training = (
        validate_text("schema = 1", Training)
        if wishes.training is None
        else load_training(wishes.training)
    )
    dataset = training.dataset
    for name in ("folder", "file"):
        given = getattr(dataset, name)
        if given is not None:
            dataset = dataset.model_copy(update={name: str(training.beside(given).resolve())})
    network, schedule = training.network, training.schedule
    if wishes.mnist is not None:
        dataset = dataset.model_copy(
            update={"kind": "mnist", "folder": str(wishes.mnist.resolve()), "file": None}
        )
        if wishes.training is None:
            network = network.model_copy(update={"hidden": (200,)})
            schedule = schedule.model_copy(update={"epochs": 5})
    if wishes.hidden is not None:
        network = network.model_copy(update={"hidden": wishes.hidden, "weight_scales": None})
    if wishes.epochs is not None:
        schedule = schedule.model_copy(update={"epochs": wishes.epochs})
    return training.model_copy(update={
        "name": "prediction", "dataset": dataset, "network": network, "schedule": schedule,
        "baseline": True,
    })  # fmt: skip


def _of_station(path: Path, device: Mapping[str, Any]) -> dict[str, Any]:
    """Return a station's file with the device in all arrays, and a twin that can what its rig can.

    Raises:
        ConfigError: its cells are of another kind than the device.
    """
    loaded = load_station(path)
    station: dict[str, Any] = parse_text(read_text(path), path)
    cell = str(device.get("cell", "1R"))
    for table, found in zip(station["array"], loaded.array, strict=True):
        if found.cell != cell:
            raise ConfigError(
                f"array {found.name!r} has cells {found.cell}, the device is {cell}", path=path,
                field="array.cell",
            )  # fmt: skip
        table["device"] = "device.toml"
    for name in ("calibration", "calibration_max_age", "chip"):  # of the real devices
        station.pop(name, None)
    twin: dict[str, Any] = {**station.get("twin", {}), "as_rig": False, "imperfect": False}
    if loaded.instrument:
        rig, _ = make_backend(loaded, loaded.array[0], sim=False)
        if isinstance(rig, Planning):
            able = rig.capabilities
            twin |= {"parallel_sense": able.parallel_sense, "per_line_width": able.per_line_width,
                     "limits_current": able.limits_current}  # fmt: skip
    station["twin"] = twin
    return station


def _studies(wishes: Wishes, training: Training) -> dict[str, dict[str, Any]]:
    """Return the study files of the curves and of the trainings, by their names."""
    cases: list[dict[str, Any]] = [
        {"name": method, "set": {"training.rule.method": method}} for method in METHODS
    ]
    cases[0]["remove"] = ["training.refresh"]  # M1 has none; a file with one means that of M3
    trainings: dict[str, Any] = {
        "schema": 1, "name": TRAININGS, "station": "station.toml", "training": "training.toml",
        "seeds": list(wishes.seeds), "case": cases,
    }  # fmt: skip
    if wishes.tune:
        trainings["tune"] = {
            "seeds": 1, "grid": {RATE: list(RATES)},
            "set": {"training.schedule.epochs": max(training.schedule.epochs // 2, 1)},
        }  # fmt: skip
    curves = {
        "schema": 1, "name": CURVES, "station": "curves-station.toml", "protocol": "curves.toml",
        "seeds": list(wishes.seeds[:1]),
    }  # fmt: skip
    return {CURVES: curves, TRAININGS: trainings}
