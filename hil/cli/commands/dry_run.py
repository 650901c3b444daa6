"""``hil dry-run``: what a protocol would do, without doing it."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from hil.cli.options import ArrayName, AsJson, ProtocolFile, Seed, Sim, StationFile
from hil.cli.output import Output

#: Runs that give a median and the 5 % and 95 % points some meaning.
N_SEEDS: Final = 9

#: number -> (label, unit); the order in which they are printed.
_ROWS: Final = {
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
    protocol: ProtocolFile,
    station: StationFile,
    sim: Sim = False,
    array: ArrayName = None,
    seed: Seed = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Simulated runs of an adaptive protocol.")
    ] = N_SEEDS,
    as_json: AsJson = False,
) -> None:
    """Predict time, pulses and stress; drive nothing.

    A static protocol is compiled, checked against the limits and counted. An adaptive one is run on
    simulated arrays with several seeds: median, 5 % and 95 %.
    """
    from hil.cli.progress import progress
    from hil.cli.stations import open_one
    from hil.control.forecast import forecast

    output = Output(as_json)
    with open_one(station, array, sim=sim, seed=seed, drive=False) as session:
        output.backend(session.backend_name, session.identity)
        with progress("simulate") as report:
            predicted = forecast(
                session,
                protocol,
                array=array,
                seeds=seeds,
                progress=lambda n: report(n, seeds),
                checking=lambda so_far: report(0.0, None, f"{so_far.steps} steps"),
            )
    how = "counted" if not predicted.adaptive else f"simulated with {len(predicted.seeds)} seeds"
    output.say(f"{predicted.name} ({predicted.kind}): {how}, nothing was driven")
    rows = []
    for name, (label, unit) in _ROWS.items():
        values = [predicted.numbers[name]]
        if predicted.adaptive:
            values += [predicted.low[name], predicted.high[name]]
        rows.append([label, *(_text(v, unit) for v in values)])
    head = ["", "median", "5 %", "95 %"] if predicted.adaptive else ["", "value"]
    output.table(head, rows)
    if predicted.worst.row >= 0:
        where = predicted.worst
        output.say(f"worst voltage at row {where.row}, column {where.col} ({where.phase.lower()})")
    output.result(
        {"backend": session.backend_name, "simulated": session.simulated, **predicted.as_dict()}
    )


def _text(value: float, unit: str) -> str:
    from hil.units import format_quantity

    if unit:
        return format_quantity(value, unit)
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"
