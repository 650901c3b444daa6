"""``hil resume``: go on with a run that crashed, was killed or was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli.options import AsJson
from hil.cli.output import Output

if TYPE_CHECKING:
    from hil.cli.stopping import StopGuard
    from hil.control.resume import Resumption
    from hil.program import PulseBlock


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    as_json: AsJson = False,
) -> None:
    """Go on with a run from its last checkpoint, in the same folder.

    Simulated devices are put back to it. Real ones are taken as they are: those that may have been
    written when the run ended are read first, and no pulse is sent again."""
    from hil.cli.commands.train import print_training, watched
    from hil.cli.stations import say_of_chip, warn_of_calibration
    from hil.cli.stopping import StopGuard
    from hil.control.resume import open_resumption

    output = Output(as_json)
    with (
        StopGuard() as guard,
        open_resumption(run, lambda backends: guard.watch(backends.values())) as resumption,
    ):
        session = resumption.session
        output.backend(session.backend_name, session.identity)
        warn_of_calibration(session)
        say_of_chip(session, output)
        for line in resumption.described():
            output.say(line)
        if resumption.kind == "train":
            with watched(output, guard) as observers:
                trained = resumption.train(observers)
        else:
            _protocol(resumption, output, guard)
            return
    print_training(output, trained)


def _protocol(resumption: Resumption, output: Output, guard: StopGuard) -> None:
    from hil.cli.commands.run import print_protocol
    from hil.cli.progress import progress

    done_s = 0.0
    with progress("driving", guard.check) as report:

        def block_done(block: PulseBlock) -> None:
            nonlocal done_s
            done_s += block.duration_s
            report(done_s, None, block.phase.name.lower())

        ran = resumption.protocol(block_done, lambda folder: output.say(f"run: {folder}"))
    print_protocol(output, ran, [])
