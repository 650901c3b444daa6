"""Run ``hil`` in real time on a virtual bench, and write when its outputs go on and off.

``python watched_bench.py LOG run …``: one line ``<monotonic ns> <on|off>`` for each change.
"""

from __future__ import annotations

import sys
import threading
import time

from hil_sim.virtual_bench import bench as virtual_bench
from hil_sim.virtual_bench.terminal import Rail

from hil.cli.main import main

_POLL_S = 5e-4


def watch(bench, path):
    """Note every change of "an output drives a level or is on"; the bench is not locked for it."""
    terminals = [t for t in bench.network.terminals.values() if not isinstance(t, Rail)]
    before = False
    with open(path, "w", encoding="ascii") as log:
        while True:
            now = any(t.on for t in terminals)
            if now != before:
                before = now
                log.write(f"{time.monotonic_ns()} {'on' if now else 'off'}\n")
                log.flush()
            time.sleep(_POLL_S)


if __name__ == "__main__":
    path = sys.argv[1]
    enter = virtual_bench.Bench.__enter__

    def entered(bench):
        bench.faults.pace = 1.0  # pulses take as long as on instruments
        threading.Thread(target=watch, args=(bench, path), daemon=True).start()
        return enter(bench)

    virtual_bench.Bench.__enter__ = entered
    main(sys.argv[2:])
