"""``hil characterise``: measure what `hil fit` needs, part by part, gentle to destructive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.options import ArrayName, AsJson, Out, Seed, Sim, Virtual, WireLog
from hil.cli.output import Output

if TYPE_CHECKING:
    from hil.characterise.plan import PartPlan
    from hil.characterise.run import Characteriser
    from hil.cli.progress import Report
    from hil.cli.stopping import StopGuard
    from hil.program import PulseBlock
    from hil.record.characterisation import Characterisation, LeftOut

_SHOWN = 8  # devices of one part that are named one by one


def characterise(
    station: Annotated[Path, typer.Argument(metavar="STATION", help="Station file.")],
    suite: Annotated[
        str, typer.Option("--suite", help="Suite file, or a shipped one: standard, quick.")
    ] = "standard",
    cells: Annotated[
        list[str] | None,
        typer.Option(
            "--cells", metavar="R,C", help="Devices: all, 3,7 or 0-3,0-7; repeatable [all]."
        ),
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Draw so many of them by the seed.")
    ] = None,
    array: ArrayName = None,
    sim: Sim = False,
    virtual: Virtual = False,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of the characterisation [station, array and suite]."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only print the plan; nothing is driven.")
    ] = False,
    out: Out = Path("runs"),
    seed: Seed = None,
    wire_log: WireLog = False,
    as_json: AsJson = False,
) -> None:
    """Characterise an array: reads, curves, disturb, retention, endurance.

    Every part is an ordinary run. The same command goes on where it stopped; devices that are
    stuck, at the current limit or out of range are left out of the later parts."""
    from hil.characterise.run import Choice, open_characteriser
    from hil.characterise.suite import load_suite
    from hil.cli.progress import progress
    from hil.cli.stations import open_one, say_of_chip
    from hil.cli.stopping import StopGuard

    output = Output(as_json)
    chosen = load_suite(suite)
    with StopGuard() as guard:
        if not (sim or virtual or plan):
            _finish_open_part(station, array, chosen, name, out, seed, guard, output)
        with open_one(
            station, array, sim=sim, seed=seed, out=out, drive=not plan, virtual=virtual,
            wire_log=wire_log,
        ) as session:  # fmt: skip
            guard.watch(session.backends.values())
            output.backend(session.backend_name, session.identity)
            say_of_chip(session, output)
            choice = Choice(session, array, chosen, tuple(cells or ()), sample, name)
            with open_characteriser(choice, drive=not plan) as work:
                folder = work.folder
                if folder.begun:
                    output.say(f"going on with {folder.path}")
                    if virtual:
                        output.note("hil: note: the devices of a virtual bench end with its "
                                    "process: these are new ones")  # fmt: skip
                with progress("planning", guard.check) as report:
                    plans = work.plans(lambda: report(0.0))
                _print_plan(output, work, plans)
                if not plan:
                    output.say(f"characterisation: {folder.path}")
                    with progress("characterising", guard.check) as report:
                        work.run(_Told(output, report))
                left, index = work.left, folder.index
                _print_end(output, index, left, plan)
                output.result(_result(index, plans, left, session.backend_name, plan))
    if not left:
        raise typer.Exit(6)


class _Told:
    """Shows how a characterisation goes."""

    def __init__(self, output: Output, report: Report) -> None:
        self._output, self._report, self._done_s = output, report, 0.0

    def part_begins(self, plan: PartPlan, run: Path) -> None:
        self._done_s = 0.0
        self._output.say(f"{plan.name}: {plan.devices} devices: {run}")

    def block_done(self, plan: PartPlan, block: PulseBlock) -> None:
        self._done_s += block.duration_s
        self._report(self._done_s, plan.seconds or None, plan.name)

    def part_ended(self, plan: PartPlan, left_out: list[LeftOut], left: int) -> None:
        for found in left_out[:_SHOWN]:
            self._output.say(f"  ({found.row}, {found.col}) left out: {found.rule}: {found.reason}")
        if len(left_out) > _SHOWN:
            self._output.say(f"  and {len(left_out) - _SHOWN} more; {left} devices are left")

    def check(self) -> None:
        self._report(0.0, None, "planning")


def _finish_open_part(
    station: Path, array: str | None, suite: Any, name: str | None, out: Path, seed: int | None,
    guard: StopGuard, output: Output,
) -> None:  # fmt: skip
    """Let the run of a part that was cut short on real devices go on: no pulse is sent again."""
    from hil.characterise.resuming import finish_part, run_to_finish
    from hil.characterise.run import Choice
    from hil.cli.progress import progress
    from hil.control.session import open_session

    with open_session(station, array=array, seed=seed, out=out, drive=False) as session:
        path = Choice(session, array, suite, name=name).path
    run = run_to_finish(path)
    if run is None:
        return
    output.say(f"going on with the open part: {run}")
    with progress("driving", guard.check) as report:
        done_s = 0.0

        def block_done(block: PulseBlock) -> None:
            nonlocal done_s
            done_s += block.duration_s
            report(done_s, None, block.phase.name.lower())

        def begins(resumption: Any) -> Any:
            for line in resumption.described():
                output.say(line)
            return block_done

        finish_part(path, run, lambda backends: guard.watch(backends.values()), begins)


def _print_plan(output: Output, work: Characteriser, plans: Sequence[PartPlan]) -> None:
    from hil.characterise.plan import total
    from hil.units import format_duration, format_quantity

    rows = []
    whole = total(plans)
    for plan in (*plans, whole):
        if plan.state != "to do":
            rows.append([plan.name, plan.devices or "", plan.state, "", "", "", ""])
            continue
        rows.append([
            plan.name, plan.devices, format_duration(plan.seconds), plan.device_pulses, plan.pulses,
            plan.half_selects, format_quantity(plan.stress_v2s, "V²s", 3),
        ])  # fmt: skip
    output.table(
        ["part", "devices", "time", "pulses", "on a device", "half-selects", "stress"], rows
    )
    for plan in plans:
        if plan.why:
            output.say(f"{plan.name} is left out: {plan.why}")
    output.say("a device is left out of the later parts for")
    for line in work.judge.described():
        output.say(f"  {line}")


def _print_end(output: Output, index: Characterisation, left: int, plan: bool) -> None:
    from collections import Counter

    if plan:
        output.say("nothing was driven")
        return
    rules = Counter(found.rule for found in index.left_out)
    why = ", ".join(f"{count} {rule}" for rule, count in sorted(rules.items()))
    output.say(f"{left} of {len(index.cells)} devices are left{f': {why}' if why else ''}")
    if not left:
        output.note("hil: every device tripped a stop rule; the later parts were not run")
    output.say(f"next: hil fit {index.path}")


def _result(
    index: Characterisation, plans: Sequence[PartPlan], left: int, backend: str, plan: bool
) -> dict[str, Any]:
    from dataclasses import asdict

    from hil.characterise.plan import total

    return {
        "backend": backend, "folder": index.path, "plan_only": plan, "devices": len(index.cells),
        "left": left, "left_out": [asdict(found) for found in index.left_out],
        "plan": [one.as_dict() for one in plans], "in_all": total(plans).as_dict(),
        "parts": [
            {"name": part.name, "kind": part.kind, "run": part.run, "skipped": part.skipped,
             "attempts": len(part.runs)}
            for part in index.parts
        ],
    }  # fmt: skip
