"""Points as a job array of a SLURM cluster, through submitit; every job runs a chunk of them."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hil.errors import BackendError, BackendUnavailable
from hil.extras import needed_for
from hil.study.engines import Ended, LocalEngine, Task

_POLL_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Runs its tasks on the node it is on; one that times out is queued again with what is open."""

    workers: int

    def __call__(self, tasks: Sequence[Task]) -> int:
        """Run the tasks that are not done; return how many failed."""
        failed: list[str] = []

        def ended(name: str, error: str | None) -> None:
            if error is not None:
                failed.append(name)

        todo = [task for task in tasks if task.folder.done is None]
        LocalEngine(self.workers).run(todo, ended)
        return len(failed)

    def checkpoint(self, tasks: Sequence[Task]) -> Any:
        """Return what submitit submits when the job's time is over: the same chunk."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, tasks)


@dataclass(frozen=True, slots=True)
class SlurmEngine:
    """Job arrays by submitit.

    Attributes:
        folder: where submitit keeps its scripts and logs; seen by all nodes.
        chunk: points per job.
        workers: cores and processes per job.
        timeout_min: time limit of a job in minutes; a job that reaches it is queued again.
        requeues: how often a job may be queued again.
        parameters: further parameters of submitit, such as ``slurm_partition``.
    """

    folder: Path
    chunk: int = 8
    workers: int = 1
    timeout_min: int = 240
    requeues: int = 20
    parameters: dict[str, Any] = field(default_factory=dict)

    def run(self, tasks: Sequence[Task], ended: Ended) -> None:
        """Submit all tasks and wait for them; when it is interrupted, the jobs are cancelled.

        Raises:
            BackendUnavailable: submitit is not installed, or there is no SLURM.
            BackendError: SLURM refused the jobs.
        """
        jobs = self._submit(tasks)
        finished = False
        try:
            self._follow(jobs, {task.id: task for task in tasks}, ended)
            finished = True
        finally:
            if not finished:
                for job in jobs:
                    job.cancel(check=False)

    def _follow(self, jobs: Sequence[Any], left: dict[str, Task], ended: Ended) -> None:
        """Tell of every task that has ended, until none is left or no job runs any more."""
        while left:
            over = _over(jobs)  # asked first: what ended meanwhile is seen below
            for name, task in list(left.items()):
                failure = task.folder.failure
                if task.folder.done is not None or failure is not None:
                    del left[name]
                    ended(name, failure)
            if over:
                for name, task in left.items():
                    task.folder.fail("its job ended without it; see the logs in the study's slurm/")
                    ended(name, task.folder.failure)
                return
            time.sleep(_POLL_S)

    def _submit(self, tasks: Sequence[Task]) -> list[Any]:
        with needed_for("the SLURM engine", "slurm"):
            import submitit
        logging.getLogger("submitit").setLevel(logging.ERROR)
        try:
            executor = submitit.AutoExecutor(
                folder=self.folder, cluster="slurm", slurm_max_num_timeout=self.requeues
            )
            executor.update_parameters(
                name="hil-study", timeout_min=self.timeout_min, cpus_per_task=self.workers,
                **self.parameters,
            )  # fmt: skip
        except (RuntimeError, TypeError, NameError) as exc:
            raise BackendUnavailable(f"no jobs can be submitted: {exc}") from exc
        chunks = [tasks[k : k + self.chunk] for k in range(0, len(tasks), self.chunk)]
        try:
            return list(executor.map_array(Chunk(self.workers), chunks))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as e:
            raise BackendError(f"SLURM refused the jobs: {e}") from e


def _over(jobs: Sequence[Any]) -> bool:
    """Return whether no job is queued or running; on clusters without accounting, too."""
    names = sorted({str(job.job_id).partition("_")[0] for job in jobs})
    done = subprocess.run(
        ["squeue", "--noheader", "--format=%i", "--jobs", ",".join(names)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        # Jobs that SLURM has forgotten are over; after any other failure it is asked again.
        return "Invalid job id" in done.stderr
    return not done.stdout.split()
