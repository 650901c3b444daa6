"""``hil train``: let a network learn on an array."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.options import AsJson, Out, Seed, Sim, StationFile, Virtual, WireLog
from hil.cli.output import Output

if TYPE_CHECKING:
    from hil.cli.stopping import StopGuard
    from hil.control.reports import TrainReport
    from hil.control.running import Observers


def train(
    training: Annotated[Path, typer.Argument(metavar="TRAINING", help="Training file.")],
    station: StationFile,
    sim: Sim = False,
    virtual: Virtual = False,
    out: Out = Path("runs"),
    level: Annotated[
        str | None,
        typer.Option(
            "--level",
            help="What is recorded: full, operation or off [default: full, but operation for "
            "forward, backward, update, refresh and read].",
        ),
    ] = None,
    seed: Seed = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            "--checkpoint-every",
            min=1,
            help="Samples between the checkpoints that `hil resume` goes on from [default: the "
            "file's].",
        ),
    ] = None,
    wire_log: WireLog = False,
    as_json: AsJson = False,
) -> None:
    """Train a network on an array and record it."""
    from hil.cli.stations import one_of, say_of_chip, warn_of_calibration
    from hil.cli.stopping import StopGuard
    from hil.config.training import CheckpointTable, load_training
    from hil.control.session import open_session

    output = Output(as_json)
    one_of(sim, virtual)
    loaded = load_training(training)
    if seed is not None:
        loaded = loaded.model_copy(update={"seed": seed})
    if checkpoint_every is not None:
        often = CheckpointTable(every=checkpoint_every)
        loaded = loaded.model_copy(update={"checkpoint": often})
    with (
        StopGuard() as guard,
        open_session(
            station, sim=sim, seed=seed, out=out, virtual=virtual, wire_log=wire_log
        ) as session,
    ):
        guard.watch(session.backends.values())
        output.backend(session.backend_name, session.identity)
        warn_of_calibration(session)
        say_of_chip(session, output)
        with watched(output, guard) as observers:
            trained = session.train(
                loaded, level=level, on_event=observers.on_event,
                on_progress=observers.on_progress, on_stage=observers.on_stage,
                started=observers.started,
            )  # fmt: skip
    print_training(output, trained)


@contextmanager
def watched(output: Output, guard: StopGuard) -> Iterator[Observers]:
    """Show the progress of a training while the ``with`` block runs."""
    from hil.cli.progress import progress
    from hil.control.running import Observers

    note = ""
    with progress("training", guard.check) as report:

        def heard(kind: str, fields: dict[str, Any]) -> None:
            nonlocal note
            if kind == "epoch":
                note = f"epoch {fields['epoch'] + 1}, test {fields['test_accuracy']:.1%}"
            elif kind == "warning":
                output.note(f"hil: warning: {fields['what']}")

        yield Observers(
            on_progress=lambda done, total: report(done, total, note), on_event=heard,
            on_stage=lambda stage: report(0, None, stage),
            started=lambda folder: output.say(f"run: {folder}"),
        )  # fmt: skip


def print_training(output: Output, trained: TrainReport) -> None:
    """Print what a training gave."""
    result = trained.result
    history = result.history
    output.table(
        ["epoch", "eta", "loss", "train", "test", "write pulses", "refresh pulses"],
        [
            [e.epoch + 1, f"{e.eta:.4f}", f"{e.train_loss:.4f}", f"{e.train_accuracy:.1%}",
             f"{e.test_accuracy:.1%}", e.write_pulses, e.refresh_pulses]
            for e in history.epochs
        ],
    )  # fmt: skip
    output.say(f"test accuracy {history.test_accuracy:.2%} after {result.seconds:.1f} s")
    if result.float_accuracy:
        output.say(f"floating point, same network: {result.float_accuracy[-1]:.2%}")
    clipped = max((e.clipped_fraction for e in history.epochs), default=0.0)
    if clipped > 0:
        output.say(f"up to {clipped:.2%} of the update probabilities of an epoch were cut to 1")
    costs = history.costs
    if costs is not None and costs.devices:
        output.say(
            f"{costs.write_pulses_per_device:.1f} write and {costs.refresh_pulses_per_device:.1f} "
            f"refresh pulses per device, at most {costs.most_pulses_on_a_device} on one; "
            f"{costs.half_selects} half-selects; about {costs.energy_joule:.3g} J"
        )
    rig = trained.rig
    if rig is not None and rig.seconds is not None:
        from hil.units import format_duration

        output.say(f"on the station's instruments it would take {format_duration(rig.seconds)}")
    elif rig is not None:
        output.say(f"on the station's instruments it cannot be done as it was: {rig.why}")
    output.result(
        {
            "backend": trained.backend, "identity": trained.identity,
            "simulated": trained.simulated, "run": trained.run, "status": "done",
            "accuracy": {
                "test": history.test_accuracy,
                "float": result.float_accuracy[-1] if result.float_accuracy else None,
            },
            "pulses": {
                "characterise": result.characterise_pulses, "initial": result.initial_pulses,
                "write": history.total("write_pulses"),
                "refresh": history.total("refresh_pulses"),
            },
            **({} if rig is None else {"rig": rig}),
            "costs": costs, "seconds": result.seconds, "epochs": history.epochs,
        }
    )  # fmt: skip
