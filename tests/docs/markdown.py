"""Code blocks of a Markdown file, and how each kind is executed."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Languages that are executed; everything else is only shown.
EXECUTED = ("python", "console", "bash", "toml")
#: Languages that may be shown without being executed: set-up commands run by `.ci/run`, output.
SHOWN = ("sh", "bat", "text", "json", "")

_FENCE = re.compile(r"^```(\S*) *(.*)$")


@dataclass(frozen=True)
class CodeBlock:
    """One fenced block: its language, the word after it, its text, its first line's number."""

    language: str
    note: str
    text: str
    line: int


def code_blocks(path: Path) -> Iterator[CodeBlock]:
    lines = path.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        at += 1
        if fence is None:
            continue
        begin = at
        while lines[at] != "```":
            at += 1
        yield CodeBlock(
            fence.group(1), fence.group(2), "\n".join(lines[begin:at]) + "\n", begin + 1
        )
        at += 1


def environment() -> dict[str, str]:
    """Return an environment in which `hil` is the one of the interpreter under test."""
    scripts = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}


def run_shell(command: str, folder: Path) -> str:
    """Run a shell command that must succeed; return its standard output."""
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", command], cwd=folder, env=environment(),
        capture_output=True, text=True, encoding="utf-8", timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_console(text: str, folder: Path) -> None:
    """Run a transcript: after each `$ command` the lines shown must come in that order.

    `…` stands for anything.
    """
    commands = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not commands[0].strip(), "a console block begins with a command"
    for part in commands[1:]:
        command, *expected = part.rstrip("\n").split("\n")
        output = run_shell(command, folder)
        printed = iter(output.splitlines())
        for line in expected:
            pattern = "*".join(re.sub(r"([\[\]*?])", r"[\1]", bit) for bit in line.split("…"))
            found = any(fnmatch.fnmatchcase(got, pattern) for got in printed)
            assert found, f"`{command}` did not print, in this order: {line}\n{output}"
