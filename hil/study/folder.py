"""The folder of a study: its file, one folder per point, and what is done, failed or open."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from hil.errors import ConfigError, StoreError
from hil.record.durable import replace_file
from hil.record.jsonable import to_json
from hil.study.code import code_version
from hil.study.file import Study
from hil.study.points import Point

State = Literal["done", "failed", "open"]
_POINT: Final = "point.json"
_FAILURE: Final = "failure.json"


@dataclass(frozen=True, slots=True)
class PointFolder:
    """``points/<id>/``: the point's files, its runs, and what went wrong if it failed.

    A point is done when one of its runs has a stop record that says so.
    """

    path: Path

    @property
    def runs(self) -> list[Path]:
        """Run folders, oldest first; all but the last were killed or failed."""
        if not self.path.is_dir():
            return []
        return sorted(p.parent for p in self.path.glob("*/manifest.json"))

    @property
    def done(self) -> Path | None:
        """The run that is done, None while there is none."""
        for run in reversed(self.runs):
            if _read_json(run / "stop.json").get("status") == "done":
                return run
        return None

    @property
    def failure(self) -> str | None:
        """Why the last attempt failed, None if it did not."""
        error = _read_json(self.path / _FAILURE).get("error")
        return None if error is None else str(error)

    @property
    def state(self) -> State:
        """``done``, ``failed`` (it is tried again when the study is run again) or ``open``."""
        if self.done is not None:
            return "done"
        return "open" if self.failure is None else "failed"

    def write(self, point: Point) -> None:
        """Write the point's files; its settings anew where the study sweeps other fields now."""
        marker = self.path / _POINT
        content = to_json({
            "id": point.id, "stage": point.stage, "settings": point.settings,
            "tuned": point.tuned, "seed": point.seed,
        }, indent=2)  # fmt: skip
        if marker.exists():
            if marker.read_bytes() != content:
                replace_file(marker, content)
            return
        self.path.mkdir(parents=True, exist_ok=True)
        for name, text in point.texts.items():
            (self.path / name).write_text(text, encoding="utf-8")
        marker.write_bytes(content)

    def fail(self, error: str) -> None:
        """Note that the point failed."""
        (self.path / _FAILURE).write_bytes(to_json({"error": error}))

    def forget_failure(self) -> None:
        """Try the point as if it had not failed."""
        (self.path / _FAILURE).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Listed:
    """A point as a study folder remembers it."""

    id: str
    stage: str
    settings: dict[str, Any]
    tuned: dict[str, Any]
    seed: int


class StudyFolder:
    """``<root>/<name>/`` with ``study.toml``, ``study.json`` (its points) and ``points/``.

    Raises:
        ConfigError: there is no study in the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / "points").is_dir():
            raise ConfigError("is no folder of a study", path=self.path)

    @classmethod
    def create(cls, root: str | Path, study: Study) -> StudyFolder:
        """Make the folder, or take the one that is there.

        Raises:
            StoreError: it cannot be written.
        """
        path = Path(root) / study.name
        try:
            (path / "points").mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreError(f"cannot write {path}: {exc.strerror or exc}") from exc
        return cls(path)

    def keep(self, study: Study) -> None:
        """Make the study's file that of the folder, which this process has locked.

        Raises:
            StoreError: it cannot be written.
        """
        if study.path is None:
            return
        try:
            replace_file(self.path / "study.toml", study.path.read_bytes())
        except OSError as exc:
            raise StoreError(f"cannot write {self.path}: {exc.strerror or exc}") from exc

    def point(self, name: str) -> PointFolder:
        """Return the folder of the point with id ``name``, which may not exist yet."""
        return PointFolder(self.path / "points" / name)

    def opened(self, points: Iterable[Point]) -> list[Point]:
        """Return those that are not done, their files written and old failures forgotten.

        Raises:
            StoreError: the folder cannot be written.
        """
        out = []
        try:
            for point in points:
                folder = self.point(point.id)
                folder.write(point)
                if folder.done is None:
                    folder.forget_failure()
                    out.append(point)
        except OSError as exc:
            raise StoreError(f"cannot write {self.path}: {exc.strerror or exc}") from exc
        return out

    def remember(self, points: Iterable[Point], total: int) -> None:
        """Write which points belong to the study as it is now, and how many it will have."""
        content = to_json({"code": code_version(), "total": total,
                           "points": [point.id for point in points]}, indent=2)  # fmt: skip
        replace_file(self.path / "study.json", content)

    @property
    def total(self) -> int:
        """Points of the study, those that depend on tuning included."""
        return int(self._index().get("total", 0))

    def listed(self) -> list[Listed]:
        """Return the points that are known, in the study's order."""
        out = []
        for name in self._index().get("points", []):
            found = _read_json(self.point(str(name)).path / _POINT)
            if found:
                out.append(Listed(found["id"], found["stage"], found["settings"], found["tuned"],
                                  found["seed"]))  # fmt: skip
        return out

    def _index(self) -> dict[str, Any]:
        return _read_json(self.path / "study.json")

    def numbers(self, name: str) -> dict[str, float]:
        """Return the numbers that the point with id ``name`` gave; empty while it is not done.

        They are those of its result and of what it cost its devices.
        """
        from hil.record.reader import open_run

        run = self.point(name).done
        if run is None:
            return {}
        last: dict[str, dict[str, Any]] = {e["kind"]: e for e in open_run(run).events}
        result = last.get("result", {})
        flat = {**last.get("costs", {}), **result, **(result.get("outcome") or {})}
        return {
            key: value for key, value in flat.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and key != "t_ns"
        }  # fmt: skip


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
