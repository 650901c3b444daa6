"""Compares the files of a run with the sha256 noted for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hil.record.sealed import SealNote, read_notes


def differences(
    folder: Path, manifest: Mapping[str, Any], stop: Mapping[str, Any] | None
) -> Iterator[str]:
    """Yield one line for every file that is gone or is not the one noted.

    A segment that was sealed after the stop record is answered for by its sealed part, when that
    says it was made from the very segment.
    """
    expected = {f"config/{n}": c["sha256"] for n, c in manifest["config"].items()}
    parts = (stop or {}).get("parts") or {}
    notes, _ = read_notes(folder)
    made_from = {note.of: note for note in notes.values()}
    for name, part in parts.items():
        note = made_from.get(name)
        if note is None or (folder / name).exists():
            expected[name] = part["sha256"]
        elif note.of_sha256 != part["sha256"]:
            yield f"{note.part}: it was sealed from another {name} than the one noted"
    expected |= {n.part: n.sha256 for n in notes.values() if _is_meant(folder, n)}
    for beside in sorted(folder.glob("*.sha256")):  # files that go on after the stop record
        digest, _, name = beside.read_text(encoding="utf-8").strip().partition("  ")
        expected[name or beside.stem] = digest
    for name, digest in expected.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as exc:
            yield f"{name}: cannot be read: {exc.strerror or exc}"
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            yield f"{name}: its sha256 is not the one noted"


def _is_meant(folder: Path, note: SealNote) -> bool:
    """Return whether the sealed part stands for its segment (a crash may have come before)."""
    return (folder / note.part).exists() or not (folder / note.of).exists()
