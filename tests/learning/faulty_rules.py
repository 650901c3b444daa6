"""Modules with rules of a user's own, written for a test."""

from __future__ import annotations

from itertools import count

_NUMBER = count()

GOOD_RULE = """\
        self.seen.append(x.size)
        random.random(), np.random.rand()
        cols = np.ones((1, delta.size), bool)
        return [UpdateSlots(1, np.ones((1, x.size), bool), cols, ~cols)]
    def __init__(self):
        self.seen = []
    __hash__ = None  # as a dataclass has none
"""


def write_rules(folder, body, setup=""):
    """Write a module with a class ``Own`` whose ``slots`` has ``body``; return its name."""
    module = f"own_rules_{next(_NUMBER)}"
    text = (
        "import random\nimport numpy as np\nfrom hil.learning.rule import UpdateSlots\n"
        f"{setup}class Own:\n    def slots(self, x, delta, rng):\n{body or '        return []'}\n"
    )
    (folder / f"{module}.py").write_text(text, encoding="utf-8")
    return module
