"""``hil demo``: a network learns on a simulated array."""

from __future__ import annotations

from pathlib import Path

from hil.cli.options import AsJson, Out, Seed
from hil.cli.output import Output


def demo(
    seed: Seed = None,
    out: Out = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Watch a network learn on simulated devices.

    Characterises a few devices, trains a 64-32-10 network on digits through read and write pulses,
    compares with another method and with floating point, and records everything.
    """
    from hil.cli.progress import progress
    from hil.cli.stopping import StopGuard
    from hil.demo.run import DEVICE, run_demo

    output = Output(as_json)
    output.backend("sim", f"{DEVICE} devices")
    with StopGuard() as guard, progress("demo", guard.check) as report:
        result = run_demo(
            out, seed=seed, progress=report, watch=guard.watch,
            started=lambda folder: output.say(f"run: {folder}"),
        )  # fmt: skip
    output.table(result.columns(), result.rows())
    output.say(f"picture: {result.picture}")
    output.say(f"done in {result.seconds:.0f} s")
    output.result(result.to_json())
