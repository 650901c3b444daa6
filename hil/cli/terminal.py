"""Text that fits the terminal: its width, and ASCII where it does not show UTF-8."""

from __future__ import annotations

import codecs
import locale
import os
import shutil
import sys
import textwrap
from typing import Final

_ASCII: Final = str.maketrans(
    {
        **dict(zip("▁▂▃▄▅▆▇█", "_.:-=+*#", strict=True)),
        "→": "->", "…": "...", "−": "-", "–": "-", "·": "*", "×": "x", "²": "2", "µ": "u",
        "Ω": "ohm", "\u202f": " ",
    }
)  # fmt: skip


def shows_unicode() -> bool:
    """Return whether what shows the output understands UTF-8, as far as its locale says.

    ``PYTHONIOENCODING`` decides where it is set. A console of Windows shows all of Unicode.
    """
    name = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    if not name and os.name == "nt":
        return True
    try:
        # Not that of sys.stdout: every command writes UTF-8, and Python does in the locale C.
        return codecs.lookup(name or locale.getencoding()).name == "utf-8"
    except LookupError:
        return False


def legible(text: str) -> str:
    """Return ``text``, in ASCII where the terminal does not show more."""
    if shows_unicode():
        return text
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode()


def columns() -> int:
    """Return the width of the terminal in characters, 80 where there is none."""
    return shutil.get_terminal_size().columns


def wrapped(text: str) -> str:
    """Return ``text`` broken into lines that fit the terminal; unchanged where there is none."""
    if not sys.stdout.isatty():
        return text
    return textwrap.fill(text, max(columns(), 40), subsequent_indent="  ", break_long_words=False)
