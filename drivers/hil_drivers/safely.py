"""Steps towards a safe state, each tried whatever became of those before it."""

from __future__ import annotations

from collections.abc import Callable

from hil.errors import HilError


class Attempts:
    """Runs steps, keeps the failures, and raises the first of them at the end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failed: list[HilError] = []

    def run(self, step: Callable[[], object]) -> None:
        """Try one step; its failure is kept."""
        try:
            step()
        except HilError as exc:
            self._failed.append(exc)

    def finish(self) -> None:
        """Raise the first failure, with a note of how many more there were."""
        if not self._failed:
            return
        first = self._failed[0]
        if len(self._failed) > 1:
            first.add_note(f"{self._name}: {len(self._failed) - 1} more steps to the safe state "
                           f"failed, the last with: {self._failed[-1]}")  # fmt: skip
        raise first
