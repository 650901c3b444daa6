"""Writers that are killed or lose their disk, and the check of what they left.

A nest is a process that has imported everything and forks writers: a kill then costs a tenth of
a second instead of one. What a writer was told to be durable, and what its hardware received, it
notes in files outside of the run folder, which neither a kill nor a lost disk takes away.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from recording import make, measured, read_block

from hil.errors import StoreError
from hil.program import Phase
from hil.record import CommitPolicy, RunFolder, open_run

SHAPE = (8, 8)
#: Elsewhere every writer is started anew, which takes a second.
FORKS = hasattr(os, "fork")


@dataclass(frozen=True)
class Job:
    """One writer.

    Attributes:
        notes: file outside of the run, for what was acknowledged; `<notes>.hw` for the hardware.
        root: folder of runs.
        n_rows: rows of a block.
        segment_bytes: small = segments rotate and are sealed all the time.
        rig: write devices under leases, too.
        life_s: when it is killed, after its birth or after its run was created.
        newborn: after its birth.
        pause_s: between appends; without it the threads that commit and seal hardly run.
    """

    notes: str
    root: str
    n_rows: int
    segment_bytes: int
    rig: bool
    life_s: float
    newborn: bool
    pause_s: float


def jobs(root: Path, rng: np.random.Generator, n: int, longest_s: float) -> list[Job]:
    """Return ``n`` different writers below ``root``."""
    return [
        Job(
            str(root / f"notes-{k}"), str(root / f"runs-{k}"), int(rng.choice([1, 15, 300])),
            int(rng.choice([4_000, 30_000, 1 << 26])), bool(rng.random() < 0.5),
            float(rng.uniform(0.0, longest_s)), bool(rng.random() < 0.15),
            float(rng.choice([0.0, 0.001])),
        )
        for k in range(n)
    ]  # fmt: skip


def write(job: Job) -> None:
    """Record as fast as it goes and note, after some appends, up to where all is acknowledged."""
    hardware = os.open(f"{job.notes}.hw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    notes = os.open(job.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    run = create(job)
    os.write(notes, f"{run.path}\n".encode())
    for _ in append(
        job, run, itertools.count(), lambda device: os.write(hardware, bytes([device]))
    ):
        os.write(notes, f"{run.acked}\n".encode())


def create(job: Job) -> RunFolder:
    """Return the run of a writer."""
    policy = CommitPolicy(segment_bytes=job.segment_bytes, ballast_bytes=1 << 20, seal_share=9.0)
    return make(Path(job.root), policy=policy, simulated=not job.rig)


def append(
    job: Job, run: RunFolder, ops: Iterable[int], pulse: Callable[[int], object]
) -> Iterator[int]:
    """Append operations, readings and, on a rig, pulses; yield now and then.

    ``pulse`` gives a device a pulse, which it then has received whatever is recorded of it.
    """
    m, choice = measured(np.random.default_rng(3), job.n_rows), random.Random(os.getpid())
    for op in ops:
        run.operation(op, Phase.READ, n_readings=job.n_rows, t_ns=op)
        run.readings(op, 0, read_block(), m)
        if run.intents is not None and op % 3 == 0:
            device = choice.randrange(SHAPE[0] * SHAPE[1])
            written = np.zeros(SHAPE, np.bool_)
            written.flat[device] = True
            run.intents.cover("main", written, 1)
            pulse(device)
            row, col = divmod(device, SHAPE[1])
            ticket = run.pulses(
                {"op": op, "phase": Phase.UPDATE, "row": row, "col": col, "v": 1.0, "width": 1e-6,
                 "count": 1, "executed": 1}
            )  # fmt: skip
            run.intents.completed("main", ticket)
        if job.pause_s:
            time.sleep(job.pause_s)
        if op % 10 == 9:
            yield op


def look(job: Job) -> None:
    """Keep what a writer has noted by now: what it does next is after the end of its disk.

    A file system that is being shut down may call a sync done that was not.
    """
    for file in (Path(job.notes), Path(f"{job.notes}.hw")):
        Path(f"{file}.seen").write_bytes(file.read_bytes() if file.exists() else b"")


def check(job: Job) -> int:
    """Check what a writer left and return how many rows had been acknowledged to it."""
    notes, hardware = Path(job.notes), Path(f"{job.notes}.hw")
    seen, hardware_seen = Path(f"{notes}.seen"), Path(f"{hardware}.seen")
    if not seen.exists():
        look(job)
    told = [line.decode() for line in seen.read_bytes().split(b"\n")[:-1]]
    received = np.frombuffer(hardware_seen.read_bytes(), np.uint8)
    if not told:  # the run was not created yet, so nothing was driven
        assert received.size == 0
        return 0
    acked = max(map(int, told[1:]), default=0)
    at_most = np.frombuffer(hardware.read_bytes(), np.uint8)
    check_run(job, Path(told[0]), acked, received, at_most)
    return acked


def check_run(
    job: Job, path: Path, acked: int, received: NDArray[np.uint8], at_most: NDArray[np.uint8]
) -> None:
    """Check a run that ended anywhere.

    What was acknowledged is there, nothing is there twice or out of order, and a device is known
    only if every pulse that it ``received`` is recorded. ``at_most`` are the pulses that a writer
    may have given before it noticed the end.
    """
    run = open_run(path)
    assert run.status in ("crashed or running", "done")
    assert run.ops.num_rows + run.reads.num_rows + run.pulses.num_rows >= acked
    np.testing.assert_array_equal(run.ops["op"].to_numpy(), np.arange(run.ops.num_rows))
    np.testing.assert_array_equal(run.ops["seq"].to_numpy(), np.arange(run.ops.num_rows))
    np.testing.assert_array_equal(run.pulses["seq"].to_numpy(), np.arange(run.pulses.num_rows))
    expected = np.arange(run.reads.num_rows) // job.n_rows
    np.testing.assert_array_equal(run.reads["op"].to_numpy(), expected)
    given, most, recorded = (np.zeros(SHAPE, int) for _ in range(3))
    np.add.at(given, np.divmod(received, SHAPE[1]), 1)
    np.add.at(most, np.divmod(at_most, SHAPE[1]), 1)
    np.add.at(recorded, (run.pulses["row"].to_numpy(), run.pulses["col"].to_numpy()), 1)
    unknown = np.zeros(SHAPE, bool)
    for places in run.unknown_devices().values():
        unknown[tuple(places.T)] = True
    assert (recorded <= most).all()
    assert unknown[recorded < given].all()
    # At most the last batch of each table, the last event, intent and note of a sealed part.
    assert all("stops at byte" in p or "damaged line" in p or "read on" in p for p in run.problems)
    assert len(run.problems) <= 6
    if run.status == "done":
        assert run.verify() == ()


class Nest:
    """A process that forks writers on request; see :func:`nest`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def hatch(self, job: Job) -> None:
        """Start a writer."""
        self._say({"hatch": asdict(job)})
        self._hear()

    def bury(self, *, now: bool = False) -> None:
        """Have every writer killed at its time, or all of them now; see :meth:`buried`."""
        self._say({"bury": now})

    def buried(self) -> None:
        """Return when all writers are dead."""
        self._hear()

    def _say(self, question) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the nest is gone"


@contextmanager
def nest(cwd: Path) -> Iterator[Nest]:
    """Yield a nest; ``cwd`` is outside of any checkout, so that writers need not look at one."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve())], cwd=cwd, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        yield Nest(process)
    finally:
        process.communicate()


def kill_many(
    root: Path, rng: np.random.Generator, n: int, at_once: int = 4, longest_s: float = 0.5
) -> list[int]:
    """Kill ``n`` writers at random moments, check what they left; return the rows acknowledged."""
    acked: list[int] = []
    with nest(root) as home:
        waiting: list[Job] = []
        for k in range(0, n, at_once):
            folder = root / f"batch-{k}"
            folder.mkdir()
            batch = jobs(folder, rng, min(at_once, n - k), longest_s)
            for job in batch:
                home.hatch(job)
            home.bury()
            acked += [check(job) for job in waiting]
            home.buried()
            waiting = batch
        acked += [check(job) for job in waiting]
    return acked


def _live(job: Job) -> None:
    try:
        write(job)
    except (StoreError, OSError) as exc:  # its disk was taken away
        with contextlib.suppress(OSError):
            Path(f"{job.notes}.error").write_text(str(exc))


def _hatch(job: Job) -> Callable[[], object]:
    """Start a writer; return what kills it and waits for its end."""
    if not FORKS:
        command = [sys.executable, __file__, json.dumps(asdict(job))]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return lambda: (process.kill(), process.wait())
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1):
            os.dup2(null, fd)
        try:
            _live(job)
        finally:
            os._exit(1)
    return lambda: (os.kill(pid, signal.SIGKILL), os.waitpid(pid, 0))


@dataclass
class _Writer:
    job: Job
    kill: Callable[[], object]
    born_s: float
    begun_s: float | None = None

    def is_due(self, at_s: float) -> bool:
        """Return whether its life is over."""
        if self.begun_s is None:
            notes = Path(self.job.notes)
            if self.job.newborn:
                self.begun_s = self.born_s
            elif notes.exists() and notes.stat().st_size:
                self.begun_s = at_s
        return self.begun_s is not None and at_s >= self.begun_s + self.job.life_s


def _bury(living: list[_Writer], now: bool) -> None:
    while living:
        for writer in living[:]:
            if now or writer.is_due(time.monotonic()):
                writer.kill()
                living.remove(writer)
        time.sleep(0.002)


def _answers(questions: Iterable[str]) -> Iterator[int]:
    import pyarrow.parquet  # noqa: F401 - so that writers have it, too

    from hil.record import segments, surroundings

    surroundings.packages()
    segments.warm_up()
    living: list[_Writer] = []
    for line in questions:
        question = json.loads(line)
        if "hatch" in question:
            job = Job(**question["hatch"])
            living.append(_Writer(job, _hatch(job), time.monotonic()))
        else:
            _bury(living, question["bury"])
        yield len(living)
    _bury(living, now=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _live(Job(**json.loads(sys.argv[1])))
    for answer in _answers(iter(sys.stdin.readline, "")):
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
