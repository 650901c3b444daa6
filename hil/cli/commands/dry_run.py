"""``hil dry-run``: what a protocol or a training would do, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hil.cli.options import ArrayName, AsJson, Seed, Sim, StationFile, Virtual
from hil.cli.output import Output

if TYPE_CHECKING:
    from hil.control.dryrun import Forecast
    from hil.control.session import Session

#: number -> (label, unit); the order in which they are printed.
_ROWS: Final = {
    "test_accuracy": ("test accuracy", ""),
    "seconds": ("time", "s"),
    "blocks": ("blocks", ""),
    "steps": ("steps", ""),
    "device_pulses": ("device pulses", ""),
    "most_pulses_on_a_device": ("most pulses on a device", ""),
    "half_selects": ("half-selects", ""),
    "most_half_selects_on_a_device": ("most half-selects on a device", ""),
    "read_pulses": ("read pulses", ""),
    "readings": ("readings", ""),
    "worst_v": ("worst voltage, selected", "V"),
    "worst_half_selected_v": ("worst voltage, half-selected", "V"),
    "worst_read_v": ("worst voltage, reads", "V"),
    "worst_stress_v2s": ("worst stress ∫V²dt", "V²s"),
    "bytes": ("bytes to record", "B"),
}


def dry_run(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="Protocol or training file, or the name of a shipped protocol."
        ),
    ],
    station: StationFile,
    sim: Sim = False,
    virtual: Virtual = False,
    array: ArrayName = None,
    seed: Seed = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Simulated runs [default: 9 of an adaptive protocol, 3 of a training].",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict time, pulses and stress; drive nothing.

    A static protocol is compiled, checked against the limits and counted. An adaptive one, and a
    training, is run on simulated arrays with several seeds: median, 5 % and 95 %. For a rig it also
    says what runs inside the instruments and what does not.
    """
    from hil.cli.stations import open_one, plan_of

    output = Output(as_json)
    training = is_training(file)
    plan: list[str] = []
    with open_one(
        station, array, sim=sim, seed=seed, drive=False, all_arrays=training, virtual=virtual
    ) as session:
        output.backend(session.backend_name, session.identity)
        if training:
            predicted = _train(session, file, seed, seeds)
        else:
            predicted = _run(session, file, array, seeds)
            plan = plan_of(session, file, array)
    how = "counted" if not predicted.adaptive else f"simulated with {len(predicted.seeds)} seeds"
    output.say(f"{predicted.name} ({predicted.kind}): {how}, nothing was driven")
    rows = []
    for name, (label, unit) in _ROWS.items():
        if name not in predicted.numbers:
            continue
        values = [predicted.numbers[name]]
        if predicted.adaptive:
            values += [predicted.low[name], predicted.high[name]]
        rows.append([label, *(_text(v, unit) for v in values)])
    head = ["", "median", "5 %", "95 %"] if predicted.adaptive else ["", "value"]
    output.table(head, rows)
    if predicted.worst.row >= 0:
        where = predicted.worst
        output.say(f"worst voltage at row {where.row}, column {where.col} ({where.phase.lower()})")
    for line in plan:
        output.say(line)
    output.result(
        {
            "backend": session.backend_name, "simulated": session.simulated,
            **predicted.as_dict(), **({"plan": plan} if plan else {}),
        }
    )  # fmt: skip


def _text(value: float, unit: str) -> str:
    from hil.units import format_quantity

    if unit:
        return format_quantity(value, unit)
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"


def is_training(file: str) -> bool:
    """Return whether ``file`` is a training file (and not a protocol, or a shipped one's name)."""
    from hil.cli.commands.check import kind_of

    return Path(file).is_file() and kind_of(Path(file)) == "training"


def _run(session: Session, file: str, array: str | None, seeds: int | None) -> Forecast:
    from hil.cli.progress import progress
    from hil.control.dryrun import N_SEEDS
    from hil.control.forecast import forecast

    n = seeds or N_SEEDS
    with progress("simulate") as report:
        return forecast(
            session, file, array=array, seeds=n, progress=lambda done: report(done, n),
            checking=lambda so_far: report(0.0, None, f"{so_far.steps} steps"),
        )  # fmt: skip


def _train(session: Session, file: str, seed: int | None, seeds: int | None) -> Forecast:
    from hil.cli.progress import progress
    from hil.config.training import load_training
    from hil.control.forecast_training import N_TRAINING_SEEDS, forecast_training

    training = load_training(file)
    if seed is not None:
        training = training.model_copy(update={"seed": seed})
    with progress("simulate") as report:
        return forecast_training(
            session, training, seeds=seeds or N_TRAINING_SEEDS,
            progress=lambda share, note: report(100 * share, 100, note),
        )  # fmt: skip
