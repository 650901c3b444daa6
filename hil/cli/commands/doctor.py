"""``hil doctor``: what is installed, what is found, and what it costs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from hil.cli.options import AsJson
from hil.cli.output import Output

_TIMED_STEPS: Final = 2000
_TIMED_BLOCKS: Final = 200


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed and found.

    Versions, backends, protocols, instruments, disk.
    Measures the overhead per step and per block of the simulator.
    """
    output = Output(as_json)
    found: dict[str, Any] = {
        "software": _software(),
        "backends": _entry_points("hil.backends"),
        "protocols": _protocols(),
        "instruments": _instruments(),
        "disk": _disk(),
        "overhead": _overhead(),
    }
    for title, entries in found.items():
        output.say(f"{title}:")
        for line in _lines(entries):
            output.say(f"  {line}")
    output.result(found)


def _lines(entries: Any) -> list[str]:
    if isinstance(entries, dict):
        out = []
        for name, value in entries.items():
            if isinstance(value, list):
                out += [f"{name}:", *(f"  {line}" for line in value)]
            else:
                out.append(f"{name}: {value}")
        return out
    return [str(entry) for entry in entries]


def _software() -> dict[str, str]:
    import platform

    from hil.record.surroundings import software

    return {**software(), "platform": platform.platform()}


def _entry_points(group: str) -> dict[str, Any]:
    from hil.registry import backend_factory, found

    out: dict[str, Any] = {}
    for entry in found(group):
        if entry.error is not None:
            out[entry.name] = f"does not load: {entry.error}"
        else:
            factory = backend_factory(entry.name)
            kind = "simulated" if factory.simulated else "hardware"
            out[f"{entry.name} ({kind}, from {entry.distribution})"] = factory.doctor()
    return out


def _protocols() -> dict[str, Any]:
    from hil.registry import PROTOCOLS, found, load

    out: dict[str, Any] = {}
    for entry in found(PROTOCOLS):
        if entry.error is not None:
            out[entry.name] = f"does not load: {entry.error}"
        else:
            out.update(load(PROTOCOLS, entry.name)().names())
    return out


def _instruments() -> dict[str, Any]:
    """Return VISA resources and serial ports, and who answers on these; nothing is driven."""
    from hil.registry import found, load

    group = "hil.inventory"
    return {
        entry.name: load(group, entry.name)() if entry.error is None else entry.error
        for entry in found(group)
    }


def _disk() -> dict[str, str]:
    free = shutil.disk_usage(Path.cwd()).free
    return {"free here": f"{free / 1e9:.1f} GB"}


def _overhead() -> dict[str, Any]:
    """Measure what the simulator spends per block and per step, beside the pulses themselves."""
    import time

    import numpy as np

    from hil.errors import BackendUnavailable
    from hil.program import LineState, Phase, PulseBlock
    from hil.registry import backend_factory

    try:
        factory = backend_factory("sim")
    except BackendUnavailable as exc:
        return {"sim": f"not measured: {exc}"}
    backend, op = factory.open_device("nonlinear", 16, 16, seed=0)
    lines = backend.geometry.n_lines

    def reads(n_steps: int) -> PulseBlock:
        state = np.full((n_steps, lines), LineState.GROUND, dtype=np.uint8)
        level = np.zeros(state.shape)
        state[:, 0], level[:, 0] = LineState.DRIVE, op.read_v
        return PulseBlock.build(Phase.READ, state, level, op.read_s, gap_s=op.gap_s)

    one, many = reads(1), reads(_TIMED_STEPS)
    with backend:
        for block in (one, many):  # compiled before the clock runs
            backend.run_block(block)
        begun = time.perf_counter()
        for _ in range(_TIMED_BLOCKS):
            backend.run_block(one)
        block_s = (time.perf_counter() - begun) / _TIMED_BLOCKS
        begun = time.perf_counter()
        backend.run_block(many)
        step_s = (time.perf_counter() - begun) / _TIMED_STEPS
    return {"sim, per block": f"{block_s * 1e6:.1f} us", "sim, per step": f"{step_s * 1e6:.2f} us"}
