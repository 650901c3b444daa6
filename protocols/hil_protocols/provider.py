"""The entry point ``library`` of ``hil.protocols``: the shipped protocols and users' files."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from hil.errors import ProtocolError
from hil.procedure import Procedure


def _files() -> dict[str, Any]:
    folder = resources.files("hil_protocols") / "library"
    found = {entry.name.removesuffix(".toml"): entry for entry in folder.iterdir()
             if entry.name.endswith(".toml")}  # fmt: skip
    return dict(sorted(found.items()))


class LibraryProvider:
    """Gives the library by name and loads protocol files; implements ``ProtocolProvider``."""

    def names(self) -> Mapping[str, str]:
        """Return the shipped protocols: name -> what it measures, in one line."""
        out = {}
        for name, entry in _files().items():
            first = entry.read_text(encoding="utf-8").splitlines()[0]
            out[name] = first.removeprefix("#").strip()
        return out

    def text(self, name: str) -> str:
        """Return the file of a shipped protocol; ProtocolError when there is none."""
        files = _files()
        if name not in files:
            near = difflib.get_close_matches(name, files, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"shipped: {', '.join(files)}"
            raise ProtocolError(f"no shipped protocol is called {name!r}; {hint}")
        text: str = files[name].read_text(encoding="utf-8")
        return text

    def load(self, path: str | Path) -> Procedure:
        """Return the procedure of a file, or of a shipped protocol by name.

        A name without a folder and without ``.toml`` is a shipped protocol unless such a file
        exists.

        Raises:
            ProtocolError: with file, line and field.
        """
        from hil_protocols.loader import load, parse

        given = Path(path)
        is_name = given.suffix != ".toml" and given.parent == Path() and not given.is_file()
        if is_name:
            return parse(self.text(str(path)), f"{path}.toml")
        return load(given)

    def parse(self, text: str, name: str) -> Procedure:
        """Return the procedure of a file's text; ProtocolError says ``name``, line and field."""
        from hil_protocols.loader import parse

        return parse(text, name)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of protocol files."""
        from hil_protocols.loader import json_schema

        return json_schema()
