"""From a study to its points: files with swept fields set, checked, and a name by their content."""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from hil.config.station import Station, load_station
from hil.config.toml_file import is_file_name, key_lines, line_of, parse_text, read_text
from hil.config.training import load_training
from hil.errors import ConfigError
from hil.registry import PROTOCOLS, BackendFactory, backend_factory, load
from hil.study.checks import TrainingChecks
from hil.study.code import code_version
from hil.study.contents import Contents
from hil.study.fields import Files, fields_of, with_fields
from hil.study.file import Grid, Study
from hil.study.paths import make_absolute
from hil.study.removal import can_hold, schema_of

#: What a point is for: to choose a setting, or to count.
TUNE, COUNT = "tune", "count"


@dataclass(frozen=True, slots=True)
class Combination:
    """One case with one value of every field of the grid; its seeds are its repetitions."""

    case: str | None
    grid: tuple[tuple[str, Any], ...]
    files: Files = field(compare=False, hash=False)

    @property
    def settings(self) -> dict[str, Any]:
        """What the combination is told from others by."""
        return ({} if self.case is None else {"case": self.case}) | dict(self.grid)


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a study.

    Attributes:
        id: digest of the files and of what they name (data files, the source of a user's rule), of
            the seed and of the code.
        stage: :data:`TUNE` or :data:`COUNT`.
        settings: case and swept fields.
        tuned: fields that are tried out, or were chosen, by tuning.
        seed: of the simulated devices and the training.
        texts: content of the point's files by name.
    """

    id: str
    stage: str
    settings: Mapping[str, Any]
    tuned: Mapping[str, Any]
    seed: int
    texts: Mapping[str, str]

    @property
    def label(self) -> str:
        """The settings in one line."""
        parts = {**self.settings, **self.tuned, "seed": self.seed}
        return ", ".join(f"{short(name)} = {value}" for name, value in parts.items())


def short(name: str) -> str:
    """Return a field's name without its file's; fields that share a value, by what ends alike."""
    names = [one.partition(".")[2] or one for one in fields_of(name)]
    last = {one.rpartition(".")[2] for one in names}
    return last.pop() if len(names) > 1 and len(last) == 1 else ", ".join(names)


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


class Planner:
    """Makes the points of a study.

    Raises:
        ConfigError: a file cannot be read, or a field leads nowhere.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self._contents = Contents()
        path = study.beside(study.station)
        self._station: Station = load_station(path)
        self._factory: BackendFactory = backend_factory(
            "sim" if study.sim else self._station.backend
        )
        station = {"station": [parse_text(read_text(path), path)]}
        make_absolute(station, path.parent)
        files: Files = {**station, "device": []}
        self._devices: list[str] = []
        for table in station["station"][0]["array"]:
            device = table.get("device")
            if device is not None and device not in self._devices:
                self._devices.append(device)
                files["device"].append(parse_text(self._device_text(device)))
        self._work = "protocol" if study.training is None else "training"
        files[self._work] = [self._work_file()]
        self._base = with_fields(files, study.set)

    def _device_text(self, device: str) -> str:
        if is_file_name(device):
            return read_text(device)
        text = getattr(self._factory, "device_text", None)
        if text is None:
            raise ConfigError(
                f"device {device!r} is no file, and backend {self._factory.name!r} ships none",
                path=self._station.path, field="array.device",
            )  # fmt: skip
        return str(text(device))

    def _work_file(self) -> dict[str, Any]:
        if self.study.training is not None:
            path = self.study.beside(self.study.training)
            parsed = parse_text(read_text(path), path)
            make_absolute({"training": [parsed]}, path.parent)
            return parsed
        name = self.study.protocol or ""
        path = self.study.beside(name)
        if path.is_file():
            return parse_text(read_text(path), path)
        return parse_text(load(PROTOCOLS, "library")().text(name))

    # -- points -----------------------------------------------------------------------------

    def combinations(self) -> list[Combination]:
        """Return cases times grid, in the file's order."""
        out = []
        cases = self.study.case or (None,)
        for case, grid in itertools.product(cases, choices(self.study.grid)):
            files = self._base if case is None else with_fields(self._base, case.set, case.remove)
            out.append(
                Combination(
                    None if case is None else case.name,
                    tuple((name, _frozen(value)) for name, value in grid.items()),
                    with_fields(files, grid),
                )
            )
        return out

    def trials(self, combination: Combination) -> list[dict[str, Any]]:
        """Return the settings that tuning tries for a combination; one, empty, without tuning."""
        tune = self.study.tune
        if tune is None:
            return [{}]
        own: Grid = next((c.tune for c in self.study.case if c.name == combination.case), {})
        return list(choices({**tune.grid, **own}))

    def tuning(self, combination: Combination) -> list[Point]:
        """Return the points that tune a combination; they never see the test part."""
        tune = self.study.tune
        if tune is None:
            return []
        share = {"training.dataset.validation_share": tune.validation_share,
                 "training.baseline": False}  # fmt: skip
        return [
            self.point(TUNE, combination, trial, seed, {**tune.set, **share})
            for trial in self.trials(combination)
            # Seeds of their own, so that nothing is chosen for the devices that count.
            for seed in range(1_000_000, 1_000_000 + tune.seeds)
        ]

    def counting(self, combination: Combination, tuned: Mapping[str, Any]) -> list[Point]:
        """Return the points that count, with the setting that tuning chose."""
        return [self.point(COUNT, combination, tuned, seed) for seed in self.study.seeds]

    def point(
        self,
        stage: str,
        combination: Combination,
        tuned: Mapping[str, Any],
        seed: int,
        extra: Mapping[str, Any] | None = None,
    ) -> Point:
        """Return one point."""
        files = with_fields(combination.files, {**tuned, **(extra or {})})
        # Those of the files are absolute by now; what is left comes from the study file.
        make_absolute(files, self.study.beside(""))
        for k, device in enumerate(self._devices):
            for table in files["station"][0]["array"]:
                if table.get("device") == device:
                    table["device"] = _device_file(k)
        if self._work == "training":
            files["training"][0]["seed"] = seed
        files["station"][0].setdefault("twin", {})["seed"] = seed
        texts = {"station.toml": tomli_w.dumps(files["station"][0]),
                 f"{self._work}.toml": tomli_w.dumps(files[self._work][0])}  # fmt: skip
        for k, device_file in enumerate(files["device"]):
            texts[_device_file(k)] = tomli_w.dumps(device_file)
        known = json.dumps(
            [texts, seed, stage, self.study.sim, self.study.level, code_version(),
             self._contents.used_by(files)], sort_keys=True,
        )  # fmt: skip
        digest = hashlib.sha256(known.encode()).hexdigest()[:16]
        return Point(digest, stage, combination.settings, dict(tuned), seed, texts)

    def check(self, *, data: bool = True) -> None:
        """Check every combination with every setting that tuning would try.

        Args:
            data: also read the data sets and place the layers, whose sizes they give.

        Raises:
            ConfigError: naming the swept field of the study file that is wrong.
        """
        self._check_removals()
        checks = TrainingChecks(self._contents, data=data)
        with tempfile.TemporaryDirectory() as folder:
            for combination in self.combinations():
                first = self.study.seeds[0]
                points = self.tuning(combination) or [self.point(COUNT, combination, {}, first)]
                for point in points:
                    try:
                        self._load(point, Path(folder), checks)
                    except ConfigError as exc:
                        raise self._blamed(exc, point) from exc

    def _check_removals(self) -> None:
        """Refuse the removal of fields that no file can have."""
        schemas = {file: schema_of(file, self._factory) for file in self._base}
        for k, case in enumerate(self.study.case):
            for name in case.remove:
                file, *path = name.split(".")
                schema = schemas.get(file)
                if schema is not None and not can_hold(schema, path):
                    raise ConfigError(
                        f"no {file} file can have the field {name!r}", path=self.study.path,
                        line=line_of(self._lines(), ("case", k, "remove")),
                        field=f"case[{k}].remove",
                    )  # fmt: skip

    def _lines(self) -> dict[tuple[int | str, ...], int]:
        return {} if self.study.path is None else key_lines(read_text(self.study.path))

    def _load(self, point: Point, folder: Path, checks: TrainingChecks) -> None:
        """Load a point's files as the commands do, and see whether they can begin."""
        for name, text in point.texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        station = load_station(folder / "station.toml")
        training = None
        if self._work == "training":
            training = load_training(folder / "training.toml")
        else:
            load(PROTOCOLS, "library")().load(folder / "protocol.toml")
        if self._factory.simulated:
            for name in point.texts:
                if name.startswith("device"):
                    self._factory.open_device(folder / name, 1, 1, seed=0)
        if training is not None:
            checks.check(training, station, sim=self.study.sim)

    def _blamed(self, exc: ConfigError, point: Point) -> ConfigError:
        """Return the error with the study's field that caused it, and its line, where known."""
        study = self.study
        lines = self._lines()
        file = Path(exc.path).stem.split("-")[0] if exc.path else self._work
        wrong = f"{file}.{exc.field}" if exc.field else file
        tables: list[tuple[str, Mapping[str, Any]]] = [("set", study.set), ("grid", study.grid)]
        if study.tune is not None:
            tables.append(("tune.grid", study.tune.grid))
        for k, case in enumerate(study.case):
            tables += [(f"case.{k}.set", case.set), (f"case.{k}.tune", case.tune)]
        for table, names in tables:
            for name in names:
                if any(_overlap(wrong, one) for one in fields_of(name)):
                    where = tuple(int(p) if p.isdigit() else p for p in table.split("."))
                    return ConfigError(
                        f"{exc.message} (with {point.label})", path=study.path,
                        line=line_of(lines, (*where, name)), field=f'{table}."{name}"',
                    )  # fmt: skip
        return ConfigError(f"{exc.message} (with {point.label})", path=study.path, field=wrong)


def choices(grid: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Yield every combination of one value per field."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _device_file(k: int) -> str:
    return "device.toml" if k == 0 else f"device-{k}.toml"


def _frozen(value: Any) -> Any:
    """Return a list or table as text, so that a combination can be told by its settings."""
    return json.dumps(value) if isinstance(value, list | dict) else value
