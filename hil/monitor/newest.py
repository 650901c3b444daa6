"""The newest run of a folder of runs."""

from __future__ import annotations

from pathlib import Path


def newest_run(root: Path) -> Path | None:
    """Return the run folder in ``root`` that was begun last, None where there is none.

    Folders of runs are named by the second they were begun in; of one second the later written
    manifest counts.
    """
    runs: list[tuple[str, int, Path]] = []
    try:
        folders = sorted(root.iterdir(), reverse=True)
    except OSError:
        return None
    for folder in folders:
        begun = folder.name.partition("_")[0]
        if runs and begun < runs[0][0]:
            break
        try:
            runs.append((begun, (folder / "manifest.json").stat().st_mtime_ns, folder))
        except OSError:  # no run, or one whose manifest is being written
            continue
    return max(runs, default=(None, None, None))[2]
