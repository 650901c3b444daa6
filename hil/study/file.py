"""The study file: which files are swept, over which fields, with which seeds and tuning."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from hil.config.quantities import Count, FileTable, Index, Table
from hil.config.toml_file import load_file
from hil.study.fields import fields_of

#: Most points of one study; a larger one is a mistake in a grid.
MAX_POINTS = 100_000

_FILES: Final = ("training", "station", "device", "protocol")
_PATH: Final = re.compile(r"(\.[A-Za-z0-9_-]+)+")


def _field_names(names: str) -> str:
    """Return the text if it names fields; ValueError says which does not, and why."""
    for name in fields_of(names):
        file, dot, path = name.partition(".")
        if file not in _FILES:
            near = difflib.get_close_matches(file, _FILES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{name!r} is of no file: a field begins with training, station, "
                             f"device or protocol{hint}")  # fmt: skip
        if not _PATH.fullmatch(dot + path):
            raise ValueError(f"{name!r} is no field such as 'training.schedule.eta'")
    return names


#: A field as ``<file>.<path>``: ``device.potentiation.nu``, ``training.schedule.eta``,
#: ``station.array.0.rows``; several that share their values have commas between them.
FieldName = Annotated[str, AfterValidator(_field_names)]
Value = str | bool | int | float | list[Any] | dict[str, Any]
Values = Annotated[tuple[Value, ...], Field(min_length=1)]
CaseName = Annotated[str, Field(min_length=1, max_length=64)]
Grid = dict[FieldName, Values]


class CaseTable(Table):
    """One alternative that changes several fields together, such as a method with its settings.

    ``tune`` is tried in addition to the study's ``tune.grid`` for this case only.
    """

    name: CaseName
    set: dict[FieldName, Value] = Field(default_factory=dict)
    remove: tuple[FieldName, ...] = ()
    tune: Grid = Field(default_factory=dict)


class TuneTable(Table):
    """Settings chosen for every combination before it counts, by runs of their own.

    Every combination of cases and grid is run with each setting of ``grid`` and ``seeds`` seeds,
    evaluated on ``validation_share`` of the training part, which those runs do not learn from; the
    test part is not looked at. The setting with the best mean is then used by the points that
    count. All cases get the same number of trials.
    """

    grid: Grid = Field(default_factory=dict)
    seeds: Count = 1
    validation_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    set: dict[FieldName, Value] = Field(default_factory=dict)  #: e.g. fewer epochs


class Study(FileTable):
    """A study file.

    A point is one case, one value of every field of ``grid`` and one seed. The seed is that of the
    simulated devices and of the training.
    """

    KIND: ClassVar[str] = "study"

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    station: str
    training: str | None = None
    protocol: str | None = None
    sim: bool = True
    level: Literal["full", "operation", "off"] = "operation"
    seeds: Annotated[tuple[Index, ...], Field(min_length=1)] = (1,)
    set: dict[FieldName, Value] = Field(default_factory=dict)  #: the same for all points
    grid: Grid = Field(default_factory=dict)
    case: tuple[CaseTable, ...] = ()
    tune: TuneTable | None = None

    @model_validator(mode="after")
    def _is_one_study(self) -> Study:
        if (self.training is None) == (self.protocol is None):
            raise ValueError("training: a study runs either a training file or a protocol")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: the same seed twice")
        names = [case.name for case in self.case]
        if len(set(names)) < len(names):
            raise ValueError("case: two cases with the same name")
        missing = "protocol" if self.protocol is None else "training"
        for where, name in self._fields():
            if any(one.startswith(f"{missing}.") for one in fields_of(name)):
                raise ValueError(f"{where}: the study names no {missing} file to sweep {name!r} in")
        if self.n_points > MAX_POINTS:
            raise ValueError(f"grid: {self.n_points} points, more than {MAX_POINTS}")
        return self

    @model_validator(mode="after")
    def _tuning_is_fair(self) -> Study:
        if self.tune is None:
            if any(case.tune for case in self.case):
                raise ValueError("case: a case has `tune`, but the study has no [tune] table")
            return self
        if self.training is None:
            raise ValueError("tune: only a training is tuned")
        trials = {case.name: _n(case.tune) for case in self.case}
        if len(set(trials.values())) > 1:
            counts = ", ".join(f"{name} {n}" for name, n in trials.items())
            raise ValueError(f"case: every case gets the same number of trials, but: {counts}")
        if self.n_trials < 2:
            raise ValueError("tune.grid: there is nothing to choose from")
        return self

    def _fields(self) -> list[tuple[str, str]]:
        tune = TuneTable() if self.tune is None else self.tune
        found = [("set", f) for f in self.set] + [("grid", f) for f in self.grid]
        found += [("tune.grid", f) for f in tune.grid] + [("tune.set", f) for f in tune.set]
        for k, case in enumerate(self.case):
            found += [(f"case[{k}].set", f) for f in case.set]
            found += [(f"case[{k}].remove", f) for f in case.remove]
            found += [(f"case[{k}].tune", f) for f in case.tune]
        return found

    @property
    def n_combinations(self) -> int:
        """Cases times grid."""
        return max(len(self.case), 1) * _n(self.grid)

    @property
    def n_trials(self) -> int:
        """Settings tried for every combination; 1 without tuning."""
        if self.tune is None:
            return 1
        return _n(self.tune.grid) * (_n(self.case[0].tune) if self.case else 1)

    @property
    def n_points(self) -> int:
        """Runs of the study, those that tune it included."""
        tuning = 0 if self.tune is None else self.n_trials * self.tune.seeds
        return self.n_combinations * (len(self.seeds) + tuning)

    def beside(self, name: str) -> Path:
        """Return a path relative to the study file's folder."""
        return Path(name) if self.path is None else self.path.parent / name


def _n(grid: Grid) -> int:
    return math.prod(len(values) for values in grid.values())


def load_study(path: str | Path) -> Study:
    """Load a study file.

    Raises:
        ConfigError: with file, line and field.
    """
    return load_file(path, Study)
