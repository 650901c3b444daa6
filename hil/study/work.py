"""One point in one process: open the simulated (or real) array, run, record."""

from __future__ import annotations

import traceback
from pathlib import Path

from hil.errors import HilError, RunInterrupted
from hil.study.folder import PointFolder


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
    except Exception as exc:  # noqa: BLE001 - a user's rule may raise anything; the others go on
        error = _explained(exc)
        folder.fail(error)
        return error
    return None


def _explained(exc: BaseException) -> str:
    """Return type and message of an exception; of one that was not raised on purpose also where."""
    text = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    if isinstance(exc, HilError):
        return text
    frames = traceback.extract_tb(exc.__traceback__)
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text
