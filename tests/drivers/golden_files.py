"""Comparison with the reviewed files in ``golden/``; HIL_WRITE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def check(name: str, text: str) -> None:
    """Compare ``text`` with the golden file ``name``."""
    path = FOLDER / name
    if os.environ.get("HIL_WRITE_GOLDEN") == "1":
        path.write_text(text + "\n", encoding="ascii", newline="\n")
    assert path.is_file(), f"{path} is missing; write it with HIL_WRITE_GOLDEN=1 and review it"
    assert text + "\n" == path.read_text(encoding="ascii")
