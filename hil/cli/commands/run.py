"""``hil run``: drive a protocol and record it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil.cli.options import (
    ArrayName,
    AsJson,
    LevelOption,
    Out,
    ProtocolFile,
    Seed,
    Sim,
    StationFile,
    Virtual,
    WireLog,
)
from hil.cli.output import Output

if TYPE_CHECKING:
    from hil.control.reports import RunReport
    from hil.program import PulseBlock

_MAX_PRINTED: Final = 4096  # values of an array that --json prints


def run(
    protocol: ProtocolFile,
    station: StationFile,
    sim: Sim = False,
    virtual: Virtual = False,
    array: ArrayName = None,
    out: Out = Path("runs"),
    level: LevelOption = "full",
    seed: Seed = None,
    wire_log: WireLog = False,
    as_json: AsJson = False,
) -> None:
    """Run a protocol on an array and record it."""
    from hil.cli.progress import progress
    from hil.cli.stations import open_one, plan_of, say_of_chip
    from hil.cli.stopping import StopGuard
    from hil.control.array import load_protocol

    output = Output(as_json)
    load_protocol(protocol)  # a wrong file is refused before an instrument is touched
    with (
        StopGuard() as guard,
        open_one(
            station, array, sim=sim, seed=seed, out=out, virtual=virtual, wire_log=wire_log
        ) as session,
    ):
        guard.watch(session.backends.values())
        output.backend(session.backend_name, session.identity)
        say_of_chip(session, output)
        with progress("driving", guard.check) as report:
            seconds = done_s = 0.0
            plan: list[str] = []

            def started(folder: Path, predicted_s: float | None) -> None:
                nonlocal seconds
                seconds = predicted_s or 0.0
                output.say(f"run: {folder}")
                plan.extend(
                    plan_of(session, protocol, array, lambda: report(0.0, None, "planning"))
                )
                for line in plan:
                    output.say(line)

            def block_done(block: PulseBlock) -> None:
                nonlocal done_s
                done_s += block.duration_s
                report(done_s, seconds or None, block.phase.name.lower())

            ran = session.run_protocol(
                protocol,
                array=array,
                level=level,
                progress=block_done,
                started=started,
                checking=lambda so_far: report(0.0, None, f"checking, {so_far.steps} steps"),
            )
    print_protocol(output, ran, plan)


def print_protocol(output: Output, ran: RunReport, plan: list[str]) -> None:
    """Print what a protocol gave; ``plan`` is what the rig said before."""
    from hil.units import format_quantity

    result = ran.result
    output.say(
        f"{result.name}: {result.n_blocks} blocks, {result.n_device_pulses} device pulses, "
        f"{result.n_readings} readings in {format_quantity(result.duration_s, 's')}"
    )
    for name, value in numbers_of(result.outcome).items():
        output.say(f"  {name}: {value}")
    output.result(
        {
            "backend": ran.backend, "identity": ran.identity, "simulated": ran.simulated,
            "run": ran.run, "status": "done", "protocol": result.name, "kind": result.kind,
            "blocks": result.n_blocks, "device_pulses": result.n_device_pulses,
            "readings": result.n_readings, "duration_s": result.duration_s,
            "outcome": short(result.outcome), **({"plan": plan} if plan else {}),
        }
    )  # fmt: skip


def short(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return an outcome with large arrays replaced by their shape and the file that holds them."""
    import numpy as np

    return {
        name: {"shape": value.shape, "file": "checkpoints/outcome.npz"}
        if isinstance(value, np.ndarray) and value.size > _MAX_PRINTED
        else value
        for name, value in outcome.items()
    }


def numbers_of(outcome: Mapping[str, Any]) -> dict[str, str]:
    """Return an outcome in a few characters per entry: arrays as shape, range or counts."""
    import numpy as np

    shown: dict[str, str] = {}
    for name, value in outcome.items():
        array = np.asarray(value)
        if array.ndim == 0:
            shown[name] = f"{value:g}" if isinstance(value, float) else str(value)
        elif array.dtype.kind in "US":
            kinds, counts = np.unique(array, return_counts=True)
            shown[name] = ", ".join(f"{n} {k}" for k, n in zip(kinds, counts, strict=True))
        elif array.dtype.kind in "iufb" and array.size and np.isfinite(array).any():
            finite = array[np.isfinite(array)]
            size = " x ".join(str(n) for n in array.shape)
            shown[name] = f"{size}, {finite.min():.4g} … {finite.max():.4g}"
    return shown
