"""Who runs the points of a study: here, the worker processes of this computer."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hil.extras import needed_for
from hil.study.folder import PointFolder, StudyFolder
from hil.study.points import Point
from hil.study.work import run_point

#: Called with (point's id, error or None) whenever one has ended.
Ended = Callable[[str, str | None], None]
#: A point that took its worker process with it so often is given up.
MAX_DEATHS = 2


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to know of a point."""

    id: str
    path: str
    seed: int
    sim: bool
    level: str

    @property
    def folder(self) -> PointFolder:
        """The point's folder."""
        return PointFolder(Path(self.path))

    def run(self) -> tuple[str, str | None]:
        """Run it; return its id and what went wrong, if anything."""
        return self.id, run_point(self.path, self.seed, sim=self.sim, level=self.level)


class Engine(Protocol):
    """Runs tasks and says when each has ended."""

    def run(self, tasks: Sequence[Task], ended: Ended) -> None:
        """Run all tasks; returns when every one has ended or was given up."""


def tasks_of(folder: StudyFolder, points: Iterable[Point], *, sim: bool, level: str) -> list[Task]:
    """Return the tasks of points whose files are written."""
    return [Task(p.id, str(folder.point(p.id).path.resolve()), p.seed, sim, level) for p in points]


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Worker processes by joblib and loky; ``workers`` None = one per core."""

    workers: int | None = None

    def run(self, tasks: Sequence[Task], ended: Ended) -> None:
        """Run all tasks; a point whose worker dies is tried once more, alone.

        Raises:
            BackendUnavailable: joblib is not installed.
        """
        n = self.workers or os.cpu_count() or 1
        if n == 1:
            for task in tasks:
                ended(*task.run())
            return
        with needed_for("a study on several workers", "study"):
            import joblib
            from joblib.externals.loky.process_executor import TerminatedWorkerError

        left = {task.id: task for task in tasks}
        deaths: Counter[str] = Counter()
        while left:
            # After a death it is not known whose it was: one by one until all suspects are through.
            suspects = [task for name, task in left.items() if deaths[name]]
            batch = suspects[:1] or list(left.values())
            try:
                with joblib.Parallel(n_jobs=n, return_as="generator_unordered") as parallel:
                    for name, error in parallel(joblib.delayed(t.run)() for t in batch):
                        left.pop(name, None)
                        ended(name, error)
            except TerminatedWorkerError:
                open_tasks = [task for task in batch if task.id in left]
                # One that had begun, or any of them where none had.
                for task in [task for task in open_tasks if _begun(task)] or open_tasks:
                    deaths[task.id] += 1
                    if deaths[task.id] >= MAX_DEATHS:
                        del left[task.id]
                        error = "its worker process was killed twice (out of memory?)"
                        task.folder.fail(error)
                        ended(task.id, error)


def _begun(task: Task) -> bool:
    return bool(task.folder.runs) and task.folder.done is None
