"""``hil study``: sweep fields of files over many runs, look at the results, draw them."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from hil.cli.options import AsJson
from hil.cli.output import Output

StudyDir = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a study.")]


class EngineName(StrEnum):
    """Who runs the points."""

    LOCAL = "local"
    SLURM = "slurm"


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Study file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of all studies.")] = Path("studies"),
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes [default: one per core].")
    ] = None,
    engine: Annotated[
        EngineName, typer.Option("--engine", help="Who runs the points.")
    ] = EngineName.LOCAL,
    chunk: Annotated[int, typer.Option("--chunk", min=1, help="Points per SLURM job.")] = 8,
    time_limit: Annotated[
        int, typer.Option("--time-limit", min=1, help="Minutes per SLURM job; it is requeued.")
    ] = 240,
    partition: Annotated[str | None, typer.Option("--partition", help="SLURM partition.")] = None,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Only say how many runs it is; needs no data set yet."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study: every run that is not done yet."""
    from hil.cli.progress import progress
    from hil.cli.stopping import interruptible
    from hil.study.engines import Engine, LocalEngine
    from hil.study.file import load_study
    from hil.study.points import Planner
    from hil.study.run import run_study

    output = Output(as_json)
    study = load_study(file)
    text = f"{study.n_combinations} combinations, {len(study.seeds)} seeds"
    if study.tune is not None:
        text += f", {study.n_trials} trials with {study.tune.seeds} seeds each"
    output.say(f"study {study.name}: {study.n_points} runs ({text})")
    if plan:
        Planner(study).check(data=False)
        output.result({"name": study.name, "points": study.n_points, "plan": True})
        return
    chosen: Engine = LocalEngine(workers)
    if engine is EngineName.SLURM:
        from hil.study.slurm import SlurmEngine

        more = {} if partition is None else {"slurm_partition": partition}
        chosen = SlurmEngine(
            (out / study.name / "slurm").resolve(), chunk, workers or 1, time_limit,
            parameters=more,
        )  # fmt: skip
    with interruptible("points that are open start over"), progress("study") as report:
        outcome = run_study(study, out, chosen, report)
    for label, error in outcome.failed.items():
        output.note(f"failed: {label}: {error}")
    for what in outcome.untuned:
        output.note(f"not tuned, so not run: {what or 'the study'}")
    output.say(f"{outcome.ran} runs ended, {len(outcome.failed)} failed, "
               f"{outcome.skipped} were done before: {outcome.folder.path}")  # fmt: skip
    _print(outcome.folder, output, None)
    output.result({
        "name": study.name, "folder": outcome.folder.path, "points": outcome.total,
        "ran": outcome.ran, "skipped": outcome.skipped, "failed": outcome.failed,
        "untuned": outcome.untuned,
    })  # fmt: skip
    if outcome.failed or outcome.untuned:
        raise typer.Exit(5)


def show(
    folder: StudyDir,
    number: Annotated[
        list[str] | None,
        typer.Option("--number", "-n", help="Number to show, such as test_accuracy; repeatable."),
    ] = None,
    export_to: Annotated[
        Path | None,
        typer.Option("--export", help="Also write all points to a .parquet or .csv file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the results: mean ± standard deviation over the seeds."""
    from hil.study.folder import StudyFolder
    from hil.study.table import export

    output = Output(as_json)
    study = StudyFolder(folder)
    result = _print(study, output, number)
    if export_to is not None:
        n = export(study, export_to)
        output.say(f"{n} points: {export_to}")
    output.result({"folder": folder, "rows": result})


def _print(folder: Any, output: Output, wanted: list[str] | None) -> list[dict[str, Any]]:
    from hil.study.points import short
    from hil.study.table import columns, rows

    table = rows(folder)
    states = [folder.point(p.id).state for p in folder.listed()]
    output.say(f"{states.count('done')} of {folder.total} runs done, {states.count('failed')} "
               "failed")  # fmt: skip
    names = columns(table, wanted)
    fields = list(dict.fromkeys(f for row in table for f in (*row.settings, *row.tuned)))
    if table:
        output.table(
            [*(short(f) for f in fields), "runs", *names],
            [
                [*({**row.settings, **row.tuned}.get(f, "") for f in fields),
                 f"{max((m.n for m in row.numbers.values()), default=0)} of {row.n_points}",
                 *(row.numbers.get(n, "") for n in names)]
                for row in table
            ],
        )  # fmt: skip
    return [
        {"settings": row.settings, "tuned": row.tuned, "points": row.n_points,
         "failed": row.n_failed, "numbers": row.numbers}
        for row in table
    ]  # fmt: skip


def plot(
    folder: StudyDir,
    x: Annotated[str, typer.Option("--x", help="Swept field, such as device.response.nu.")],
    y: Annotated[str, typer.Option("--y", help="Number to draw.")] = "test_accuracy",
    to: Annotated[
        Path | None, typer.Option("--to", help="Picture: png, svg or pdf [default: in FOLDER].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a number against a swept field, with its 95 % interval."""
    from hil.study.folder import StudyFolder
    from hil.study.plot import plot_study, swept_field
    from hil.study.points import short
    from hil.study.table import rows

    output = Output(as_json)
    study = StudyFolder(folder)
    table = rows(study)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", short(swept_field(table, x)))
    path = to or folder / f"{y}-{name}.png"
    plot_study(table, x, path, y, title=folder.resolve().name)
    output.say(f"picture: {path}")
    output.result({"folder": folder, "picture": path})


#: ``hil study FILE`` is ``hil study run FILE``.
STUDY: Final[dict[str, Callable[..., None]]] = {"run": run, "show": show, "plot": plot}
