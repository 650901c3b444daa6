"""The contract suite over TCP: rigs of every instrument family on emulated instruments."""

from __future__ import annotations

import pytest
from families import FAMILIES, QUICK
from test_bench_contract import OnBench


class OnFamily(OnBench):
    """The contract on one rig; everything its drivers send is looked up in the command tables."""

    def make(self, limits=None):
        family = FAMILIES[self.kind]
        return self.enter(family.station(), limits=limits, options=family.options)

    def break_midway(self, backend):
        meter = FAMILIES[self.kind].sources[-1][0]
        faults = self.benches[id(backend)].faults[meter]
        begun = []

        def before(message):
            if any(word in message for word in (b":INIT", b"hil_run(", b"hil_follow(")):
                begun.append(message)
                if len(begun) == 3:
                    faults.queue_error = (802, "OUTPUT blocked by interlock")

        faults.before = before
        return True


def _class(kind):
    name = "Test" + "".join(word[:1].upper() + word[1:] for word in kind.split("-"))
    made = type(name, (OnFamily,), {"kind": kind, "__module__": __name__})
    return made if kind in QUICK else pytest.mark.slow(made)


for _made in map(_class, FAMILIES):
    globals()[_made.__name__] = _made
