"""The part that was open when real devices were left alone: its run goes on, not from its start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from hil.backend import Backend
from hil.characterise.folder import LOCK, last_attempt
from hil.control.resume import Resumption, open_resumption
from hil.locks import held
from hil.program import PulseBlock
from hil.record.characterisation import is_characterisation, open_characterisation
from hil.record.reader import open_run


def run_to_finish(path: Path) -> Path | None:
    """Return the run of the open part, if its pulses must not be sent again; else None.

    That is so on real devices. Simulated ones are put back to the beginning of the part, those of
    a virtual bench ended with its process, and after a safety trip the part begins again without
    the devices that were too much.
    """
    if not is_characterisation(path):
        return None
    for part in open_characterisation(path).parts:
        if part.run is not None or part.skipped is not None:
            continue
        attempt = last_attempt(part)
        if attempt is None:
            return None
        run = open_run(attempt)
        tripped = str((run.stop or {}).get("error") or "").startswith("SafetyTrip")
        return None if run.manifest["simulated"] or tripped else attempt
    return None


def finish_part(
    path: Path, run: Path, opened: Callable[[Mapping[str, Backend]], None],
    begins: Callable[[Resumption], Callable[[PulseBlock], None]],
) -> None:  # fmt: skip
    """Go on with ``run``, the open part of the characterisation in ``path``, to its end.

    Args:
        path: of the characterisation.
        run: see :func:`run_to_finish`.
        opened: called with the arrays once they are open.
        begins: called before anything is driven; returns what is told of every block.

    Raises:
        LockedError: another process works on the characterisation, or the run.
        ConfigError: the run cannot go on; says why.
        RunInterrupted: a stop was requested.
    """
    with ExitStack() as stack:
        stack.enter_context(held(path / LOCK, f"characterisation {path.name}"))
        resumption = stack.enter_context(open_resumption(run, opened))
        resumption.protocol(begins(resumption))
