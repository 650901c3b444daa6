"""Runs on simulated arrays, recorded by the commands that people use."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

from hil.cli.main import main

DEVICE = """
schema = 1
name = "known"
model = "{model}"

[range]
g_min = "2 uS"
g_max = "50 uS"

[potentiation]
{potentiation}

[depression]
{depression}

[pulse]
potentiate_voltage = "1.5 V"
depress_voltage = "-1.4 V"
width = "2 us"
potentiate_threshold = "0.9 V"
depress_threshold = "-0.9 V"

[current]
law = "sinh"
read_voltage = "0.1 V"
scale = "0.7 V"

[variation]
{variation}

[drive]
read_voltage = "0.1 V"
potentiate_voltage = "1.5 V"
depress_voltage = "-1.4 V"
write_width = "2 us"
"""

STATION = """
schema = 1
backend = "sim"

[[array]]
rows = {rows}
cols = {cols}
device = "known.toml"

[twin]
seed = {seed}
"""


def hil(*arguments: object, cwd: Path) -> tuple[int, str, str]:
    """Run a command in this process; return exit code, standard output and standard error."""
    out, err, before = io.StringIO(), io.StringIO(), os.getcwd()
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main([str(a) for a in arguments])
            except SystemExit as exc:
                return int(exc.code or 0), out.getvalue(), err.getvalue()
    finally:
        os.chdir(before)
    return 0, out.getvalue(), err.getvalue()


def hil_json(*arguments: object, cwd: Path) -> dict[str, Any]:
    """Run a command that must succeed with ``--json``; return its object."""
    code, out, err = hil(*arguments, "--json", cwd=cwd)
    assert code == 0, err
    return json.loads(out)


def bench(
    folder: Path, *, model: str = "exponential", potentiation: str = "states = 48\nnu = 2.0",
    depression: str = "states = 40\nnu = 4.0", variation: str = "step_c2c = 0.1", rows: int = 4,
    cols: int = 4, seed: int = 3,
) -> Path:  # fmt: skip
    """Write a device and a station into ``folder``."""
    text = DEVICE.format(
        model=model, potentiation=potentiation, depression=depression, variation=variation
    )
    (folder / "known.toml").write_text(text, encoding="utf-8")
    (folder / "station.toml").write_text(
        STATION.format(rows=rows, cols=cols, seed=seed), encoding="utf-8"
    )
    return folder


def run(folder: Path, kind: str, **fields: Any) -> Path:
    """Run a protocol on the station of ``folder``; return the run's folder."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    protocol = folder / f"{kind}.toml"
    protocol.write_text("\n".join(["schema = 1", f'kind = "{kind}"', *lines]), encoding="utf-8")
    found = hil_json("run", protocol.name, "--station", "station.toml", "--sim", cwd=folder)
    return folder / found["run"]
