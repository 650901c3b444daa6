"""Run folders: everything a run did, durable and readable while it goes on and after a crash."""

from __future__ import annotations

from hil.record.folder import RunFolder
from hil.record.levels import Level
from hil.record.policy import CommitPolicy
from hil.record.reader import Run, open_run

__all__ = ["CommitPolicy", "Level", "Run", "RunFolder", "open_run"]
