"""When rows are committed, and how much room the recorder takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """When rows are committed, how far the disk may lag behind, and how files are cut.

    Attributes:
        max_age_s: a group of rows closes this long after its first row.
        max_rows: or when one of its tables has this many rows.
        handed_rows: the same for blocks that are handed over by reference, rows of all tables.
        queue_bytes, queue_age_s: ``append`` waits while more bytes are queued, or while the oldest
            unacknowledged row is older. With a ballast the queue is also held to half of it, so
            that what is queued when the disk fills up still finds room.
        yield_age_s, yield_s: when the oldest unacknowledged row is older than the first, ``append``
            lets the writer thread run for at most the second, once per ``yield_age_s``. Without it
            a control loop that gives up the interpreter lock often and briefly (NumPy) can keep the
            writer from getting it for hundreds of milliseconds.
        stall_s: waiting longer than this for the disk is an error.
        segment_bytes, segment_age_s: a segment ends at this size or age.
        ballast_bytes: space held back for a full disk; at most 1/8 of what is free is taken.
        low_space_bytes: below this free space an ``alarm`` event is written and the run pauses.
        pause_s: it goes on when there is space again, and fails when there is none for so long.
        clock_s: seconds between ``clock`` events.
        seal_running: segments are sealed in the background as they are finished.
        seal_share: a run that is done seals what is left if that takes at most about this share of
            the run's time; ``inf`` = always, 0 = never.
    """

    max_age_s: float = 0.020
    max_rows: int = 4096
    handed_rows: int = 1 << 16
    queue_bytes: int = 64 << 20
    queue_age_s: float = 2.0
    yield_age_s: float = 0.050
    yield_s: float = 0.005
    stall_s: float = 30.0
    segment_bytes: int = 64 << 20
    segment_age_s: float = 600.0
    ballast_bytes: int = 64 << 20
    low_space_bytes: int = 10**9
    pause_s: float = 600.0
    clock_s: float = 60.0
    seal_running: bool = True
    seal_share: float = 0.1
