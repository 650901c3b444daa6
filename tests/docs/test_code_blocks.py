from __future__ import annotations

import importlib.util
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from markdown import EXECUTED, ROOT, SHOWN, code_blocks, run_console, run_shell

from hil.cli.commands.check import _CHECKS as CHECKS

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.timeout(600)
@pytest.mark.skipif(os.name == "nt", reason="the transcripts are those of a POSIX shell")
@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_code_block_does_what_the_page_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A page may import what it wrote; the folder that "." meant on another page is forgotten.
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.path_importer_cache.pop(".", None)
    names = {"__name__": "page"}
    left_out = []
    for block in code_blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if missing := missing_modules(block):
            left_out.append(f"the block at line {block.line} needs {', '.join(missing)}")
        elif block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
            exec(code, names)
        elif block.language == "console":
            run_console(block.text, tmp_path)
        elif block.language == "bash":
            run_shell(block.text, tmp_path)
        elif block.language == "toml":
            check_toml(block, tmp_path, where)
        else:
            assert block.language in SHOWN, f"{where}: nobody executes {block.language!r}"
    if left_out:
        pytest.skip(f"all else was executed; {'; '.join(left_out)}")


def missing_modules(block):
    """Return the modules that a block's fence asks for (```python needs torch) and are not here."""
    words = block.note.split() if block.language == "python" else []
    assert not words or words[0] == "needs", f"line {block.line}: {block.note!r}"
    return [name for name in words[1:] if importlib.util.find_spec(name) is None]


def check_toml(block, folder, where):
    """Check a file of the kind that its fence names and leave it in the folder for commands."""
    kind, *rest = block.note.split()
    file = folder / (rest[0] if rest else f"{kind}.toml")
    file.write_text(block.text, encoding="utf-8")
    if kind == "pyproject":
        assert tomllib.loads(block.text)
    else:
        assert kind in CHECKS, f"{where}: no kind of file is called {kind!r}"
        CHECKS[kind](file)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_to_files_that_exist(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_claims_use_the_words_that_are_defined(page):
    text = page.read_text(encoding="utf-8").lower()
    assert "works on hardware" not in text
    assert "works with hardware" not in text


@pytest.mark.parametrize(
    "record", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda p: p.name
)
def test_a_decision_record_is_numbered_and_short(record):
    lines = record.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", record.name)
    assert lines[0].startswith(f"# {int(record.name[:4])}. ")
    assert len(lines) <= 40


def test_a_page_that_is_not_executed_would_be_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n```python\nx = 1\n```\n```console\n$ true\n```\n")
    blocks = list(code_blocks(page))
    assert [block.language for block in blocks] == ["python", "console"]
    assert [block.line for block in blocks] == [3, 6]
    assert set(EXECUTED).isdisjoint(SHOWN)
    with pytest.raises(AssertionError, match="did not print"):
        run_console("$ echo one\ntwo\n", Path(tmp_path))
    with pytest.raises(AssertionError):
        run_console("$ false\n", Path(tmp_path))
