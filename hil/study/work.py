"""One point in one process: open the simulated (or real) array, run, record."""

from __future__ import annotations

from pathlib import Path

from hil.errors import HilError, RunInterrupted
from hil.study.folder import PointFolder

#: What a run may fail with; a user's own rule may raise anything that Python's arithmetic does.
_FAILURES = (
    HilError, ArithmeticError, ValueError, LookupError, TypeError, OSError, MemoryError,
)  # fmt: skip


def run_point(path: str | Path, seed: int, *, sim: bool, level: str) -> str | None:
    """Run the point in ``path`` into a new run folder below it; return what went wrong, or None.

    A point that is done already is left alone. An error is also kept in the point's folder.

    Raises:
        RunInterrupted: the process was told to stop.
    """
    folder = PointFolder(Path(path))
    if folder.done is not None:
        return None
    from hil.control.session import open_session

    try:
        with open_session(
            folder.path / "station.toml", sim=sim, seed=seed, out=folder.path
        ) as session:
            training = folder.path / "training.toml"
            if training.is_file():
                session.train(training, level=level)
            else:
                session.run_protocol(folder.path / "protocol.toml", level=level)
    except (RunInterrupted, KeyboardInterrupt):
        raise
    except _FAILURES as exc:  # the other points go on
        error = f"{type(exc).__name__}: {exc}"
        folder.fail(error)
        return error
    return None
