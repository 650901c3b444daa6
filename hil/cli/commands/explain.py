"""``hil explain``: what a protocol does, event by event, and its waveforms as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli.options import ArrayName, AsJson, ProtocolFile, Sim, StationFile, Virtual
from hil.cli.output import Output

if TYPE_CHECKING:
    from hil.control.session import Session
    from hil.procedure import Procedure
    from hil.program import PulseBlock


def explain(
    protocol: ProtocolFile,
    station: StationFile,
    sim: Sim = False,
    virtual: Virtual = False,
    array: ArrayName = None,
    cell: Annotated[
        str | None, typer.Option("--cell", metavar="R,C", help="Only what this cell sees.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="F.png", help="Draw the line waveforms.")
    ] = None,
    events: Annotated[
        int, typer.Option("--events", min=1, help="Print at most so many events.")
    ] = 200,
    as_json: AsJson = False,
) -> None:
    """List what a protocol does; --plot draws it.

    Made from the compiled blocks. An adaptive protocol depends on its readings; what is shown then
    is one run on the simulator. For a rig the plan is shown too: closures, runs, predicted time.
    """
    from itertools import islice

    from hil.cli.stations import open_one, plan_of
    from hil.control.array import load_protocol
    from hil.explain import events as list_events
    from hil.explain import render_events
    from hil.explain.plot import plot_lines

    output = Output(as_json)
    chosen = None if cell is None else parse_cell(cell)
    with open_one(station, array, sim=sim, seed=None, drive=False, virtual=virtual) as session:
        output.backend(session.backend_name, session.identity)
        procedure = load_protocol(protocol)
        geometry = session.context(array).geometry
        plan = plan_of(session, protocol, array)
        blocks = _blocks(session, procedure, array)
        how = "one simulated run" if procedure.adaptive else "compiled, not driven"
        output.say(f"{procedure.name} ({procedure.kind}): {how}")
        notes = procedure.notes(session.context(array))
        for note in notes:
            output.say(note)
        if plot is not None:
            plot_lines(blocks, geometry, plot, cell=chosen)
            output.say(f"picture: {plot}")
        if as_json:
            listed = [e.to_dict() for e in islice(list_events(blocks, geometry, chosen), events)]
        else:
            for line in render_events(blocks, geometry, chosen, max_events=events):
                output.say(line)
        for line in plan:
            output.say(line)
    if as_json:
        output.result(
            {
                "backend": session.backend_name, "protocol": procedure.name,
                "kind": procedure.kind, "adaptive": procedure.adaptive, "cell": chosen,
                "notes": notes, "events": listed, "picture": plot,
                **({"plan": plan} if plan else {}),
            }
        )  # fmt: skip


def parse_cell(text: str) -> tuple[int, int]:
    """Return (row, col) of ``"3,7"``.

    Raises:
        ConfigError: it is something else.
    """
    from hil.errors import ConfigError

    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"{text!r} is no cell; write row,column, e.g. 3,7", field="--cell")
    return int(parts[0]), int(parts[1])


def _blocks(session: Session, procedure: Procedure, array: str | None) -> Iterable[PulseBlock]:
    """Return blocks that can be walked again: compiled, or those of one simulated run."""
    if not procedure.adaptive:
        return procedure.programme(session.context(array))
    from hil.control.forecast import simulate

    seen: list[PulseBlock] = []
    simulate(session, procedure, array, session.seed, seen.append)
    return seen
