"""Run a study: tune, choose, count; done points are skipped, whatever stopped it before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hil.locks import held
from hil.study.engines import Engine, tasks_of
from hil.study.file import Study
from hil.study.folder import StudyFolder
from hil.study.points import Planner, Point
from hil.study.tuning import chosen

#: Called with (points done, points of the study, what was last, points done before this call).
OnPoint = Callable[[int, int, str, int], None]


@dataclass
class Outcome:
    """What a call of :func:`run_study` did.

    Attributes:
        folder: the study's folder.
        total, skipped, ran: points of the study, those done before, those that ended now.
        failed: point's label -> why, of those that ended now.
        untuned: combinations that have no setting, since a run that tunes them failed.
    """

    folder: StudyFolder
    total: int
    skipped: int = 0
    ran: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    untuned: list[str] = field(default_factory=list)


def run_study(
    study: Study, root: str | Path, engine: Engine, on_point: OnPoint | None = None
) -> Outcome:
    """Run every point of ``study`` that is not done into ``root/<name>/``.

    A point that fails does not stop the others; it is tried again by the next call.

    Raises:
        ConfigError: a file is wrong; nothing was run.
        LockedError: the study is being run by another process.
        StoreError: the folder cannot be written.
    """
    planner = Planner(study)
    planner.check()
    folder = StudyFolder.create(root, study)
    with held(folder.path / "study.lock", f"study {study.name} in {folder.path}"):
        folder.keep(study)
        return _Runner(study, planner, folder, engine, on_point).run()


class _Runner:
    def __init__(
        self, study: Study, planner: Planner, folder: StudyFolder, engine: Engine,
        on_point: OnPoint | None,
    ) -> None:  # fmt: skip
        self._study, self._planner, self._folder, self._engine = study, planner, folder, engine
        self._on_point = on_point
        self._known: list[Point] = []
        self._outcome = Outcome(folder, study.n_points)

    def run(self) -> Outcome:
        combinations = self._planner.combinations()
        tuning = [self._planner.tuning(c) for c in combinations]
        self._run([point for points in tuning for point in points])
        counting: list[Point] = []
        for combination, points in zip(combinations, tuning, strict=True):
            tuned = chosen(self._folder, points) if points else {}
            if tuned is None:
                what = ", ".join(f"{k} = {v}" for k, v in combination.settings.items())
                self._outcome.untuned.append(what)
            else:
                counting += self._planner.counting(combination, tuned)
        self._run(counting)
        return self._outcome

    def _run(self, points: Sequence[Point]) -> None:
        self._known += points
        self._folder.remember(self._known, self._study.n_points)
        todo = self._folder.opened(points)
        self._outcome.skipped += len(points) - len(todo)
        self._tell("")
        if not todo:
            return
        labels = {point.id: point.label for point in todo}
        tasks = tasks_of(self._folder, todo, sim=self._study.sim, level=self._study.level)

        def ended(name: str, error: str | None) -> None:
            self._outcome.ran += 1
            if error is not None:
                self._outcome.failed[labels[name]] = error
            self._tell(labels[name])

        self._engine.run(tasks, ended)

    def _tell(self, label: str) -> None:
        if self._on_point is not None:
            done = self._outcome.skipped + self._outcome.ran
            self._on_point(done, self._outcome.total, label, self._outcome.skipped)
