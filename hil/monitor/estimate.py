"""How far a run is, and whether it still goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from hil.monitor.feed import Feed


@dataclass(frozen=True, slots=True)
class Progress:
    """Share done (None: not known), seconds left, seconds so far, and what is counted."""

    done: float | None
    left_s: float | None
    elapsed_s: float
    what: str


def status_of(feed: Feed) -> str:
    """Return ``running``, ``crashed``, or what the stop record says."""
    if feed.stop is not None:
        return str(feed.stop.get("status"))
    return "running" if feed.is_running() else "crashed"


def progress_of(feed: Feed) -> Progress:
    """Return how far the run is, from its own reports, its plan or its epochs."""
    elapsed_s = _elapsed_s(feed)
    if feed.stop is not None:
        done = 1.0 if feed.stop.get("status") == "done" else None
        return Progress(done, 0.0, elapsed_s, "")
    done, what = _share(feed)
    if done is None or not 0.0 < done < 1.0:
        return Progress(done, None, elapsed_s, what)
    return Progress(done, elapsed_s * (1.0 - done) / done, elapsed_s, what)


def _share(feed: Feed) -> tuple[float | None, str]:
    progress, plan = feed.progress, feed.plan
    if progress is not None:
        done, total = progress.get("done"), progress.get("total")
        if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
            return min(done / total, 1.0), f"{done:,} of {total:,} {progress.get('unit', '')}"
    seconds = None if plan is None else plan.get("seconds")
    if isinstance(seconds, int | float) and seconds > 0:
        return min(feed.ops["duration_s"] / seconds, 1.0), "of the time planned"
    epochs = feed.epochs_planned
    if epochs:
        n = len(feed.epochs.get("", ()))
        return n / epochs, f"{n} of {epochs} epochs"
    return None, ""


def _elapsed_s(feed: Feed) -> float:
    """Return seconds from the run's start to its end or to now."""
    begun = float(feed.run.manifest.get("utc_epoch_ns", 0)) * 1e-9
    if feed.stop is None:
        return max(time.time() - begun, 0.0)
    try:
        end = datetime.fromisoformat(str(feed.stop.get("utc"))).timestamp()
    except ValueError:  # somebody wrote into the stop record
        return 0.0
    return max(end - begun, 0.0)
