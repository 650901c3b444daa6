"""One point in one process: open the simulated (or real) array, run, record."""

from __future__ import annotations

import os
from pathlib import Path

from hil.errors import HilError, RunInterrupted
from hil.study.folder import PointFolder

#: Set in processes that share the cores among themselves.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def run_point(path: str | Path, seed: int, *, sim: bool, level: str) -> str | None:
    """Run the point in ``path`` into a new run folder below it; return what went wrong, or None.

    A point that is done already is left alone. An error is also kept in the point's folder.

    Raises:
        RunInterrupted: the process was told to stop.
    """
    folder = PointFolder(Path(path))
    if folder.done is not None:
        return None
    for name in _THREADS:
        os.environ.setdefault(name, "1")
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
    except HilError as exc:
        error = f"{type(exc).__name__}: {exc}"
    except (ArithmeticError, ValueError, LookupError, TypeError, OSError, MemoryError) as exc:
        # A user's own rule may raise anything; the other points go on.
        error = f"{type(exc).__name__}: {exc}"
    else:
        return None
    folder.fail(error)
    return error
