"""From a run folder to plain data: everything a report shows, without drawing any of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hil.report import curves, facts, pulse_curves
from hil.report.devices import DeviceMaps, DeviceRows, device_rows, reading_status
from hil.report.facts import Table
from hil.report.learning import Confusion, LearningCurve, confusion, learning_curves
from hil.report.maps import ArrayMaps, Exposure, array_maps, exposure, ledger_of, own_array
from hil.report.outcome import Outcome
from hil.report.recorded import Recorded, open_recorded
from hil.report.text import mapping, percent, quantity

#: Config files whose text the page holds.
_SHOWN: Final = ("protocol.toml", "training.toml", "station.toml", "device.toml")
#: What a report can show -> which runs have it.
SECTIONS: Final = {
    "ltp_ltd": "potentiation and depression curves: runs of `ltp-ltd`, and trainings that "
    "characterise",
    "iv": "current over voltage: runs of `iv-sweep`",
    "retention": "retention: runs of `retention`",
    "endurance": "endurance: runs of `endurance`",
    "disturb": "disturb: runs of `half-select-disturb` and `read-disturb`",
    "pulse_map": "response to amplitude and width: runs of `pulse-map`",
    "learning": "learning curve: trainings, once an epoch is done",
    "confusion": "confusion matrix: trainings that reached their end",
    "maps": "conductance maps: runs that read devices",
    "exposure": "pulses and stress per device: runs that drove pulses",
}


@dataclass(eq=False)
class Content:
    """What a report of one run shows.

    Attributes:
        title, path: name and folder of the run.
        status, banner: ``done``, ``interrupted``, …; what to say above a run that is not done.
        simulated: what to say above a run that is not of real devices, "" otherwise.
        summary: one table: what ran.
        tables: further tables, in order.
        problems: what of the run cannot be read.
        files: texts of the files used.
        missing: what this run has no data for -> why.
    """

    title: str
    path: Path
    status: str
    banner: str
    simulated: str
    written: str
    summary: Table
    tables: list[Table]
    files: dict[str, str]
    problems: tuple[str, ...] = ()
    ltp_ltd: dict[str, pulse_curves.LtpLtd] = field(default_factory=dict)
    iv: curves.IvCurve | None = None
    retention: curves.Retention | None = None
    endurance: curves.Endurance | None = None
    disturb: curves.Disturb | None = None
    pulse_map: curves.PulseMap | None = None
    history: pulse_curves.History | None = None
    learning: list[LearningCurve] = field(default_factory=list)
    confusion: Confusion | None = None
    maps: list[ArrayMaps] = field(default_factory=list)
    exposure: list[Exposure] = field(default_factory=list)
    compliance: dict[str, DeviceMaps] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, tuple[str, float]] = field(default_factory=dict)


def gather(path: str | Path) -> Content:
    """Read the run folder at ``path``.

    Raises:
        StoreError: no such folder, no run folder, or written by a newer version.
    """
    recorded = open_recorded(path)
    meta = recorded.meta
    kind = str(meta.get("kind", ""))
    outcome = recorded.checkpoint("outcome")
    training = recorded.manifest.get("kind") in ("train", "demo")
    rows = device_rows(recorded, trains=training or not outcome)
    n_readings, reading_bits = reading_status(recorded)
    content = Content(
        title=str(recorded.manifest.get("name")), path=recorded.run.path,
        status=recorded.run.status, banner=_banner(recorded), simulated=_simulated(recorded),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", summary=facts.what_ran(recorded),
        tables=[], files=_files(recorded),
    )  # fmt: skip
    _curves(content, outcome, kind, recorded, rows)
    content.learning = learning_curves(recorded)
    content.confusion = confusion(recorded.checkpoint("predictions"))
    _arrays(content, recorded, outcome, rows, training)
    content.tables = [
        table for table in (
            facts.unknown_devices(recorded), facts.incidents(recorded),
            facts.status_counts(reading_bits, rows.status),
            *facts.on_what(recorded), facts.wiring(recorded), *facts.limits(recorded),
            *facts.versions(recorded),
        ) if table is not None and table.rows
    ]  # fmt: skip
    content.problems = recorded.problems
    content.missing = {name: text for name, text in SECTIONS.items() if not getattr(content, name)}
    content.numbers = _numbers(content, rows, n_readings)
    return content


def _curves(
    content: Content, outcome: Outcome, kind: str, recorded: Recorded, rows: DeviceRows
) -> None:
    found = pulse_curves.ltp_ltd(outcome)
    if found is not None:
        content.ltp_ltd = {"": found}
    elif rows.trains is not None and kind in ("", "ltp-ltd"):
        for layer in rows.maps:
            own = pulse_curves.ltp_ltd_from_trains(rows.trains, layer)
            if own is not None:
                content.ltp_ltd[f"layer {layer}" if len(rows.maps) > 1 else ""] = own
    content.iv = curves.iv_curve(outcome)
    content.retention = curves.retention(outcome)
    content.endurance = curves.endurance(outcome)
    aggressor = recorded.config("protocol.toml").get("aggressor") if kind else None
    cell = tuple(aggressor) if isinstance(aggressor, list) and len(aggressor) == 2 else None
    content.disturb = curves.disturb(outcome, kind, cell)
    content.pulse_map = curves.pulse_map(outcome)
    if not outcome and not content.ltp_ltd and rows.trains is not None:
        content.history = pulse_curves.history(rows.trains)


def _arrays(
    content: Content, recorded: Recorded, outcome: Outcome, rows: DeviceRows,
    training: bool,
) -> None:  # fmt: skip
    """Fill in what there is per array; rows of a training are per layer, its ledgers per array."""
    own = own_array(recorded)
    names = list(own) if own else list(recorded.arrays)
    by_name = {} if training else dict.fromkeys(names[:1], rows.maps.get(0))
    seen = False
    for name in names:
        ledger = ledger_of(recorded, name)
        seen = seen or bool(ledger)
        maps = array_maps(name, outcome if not training else {}, by_name.get(name), ledger)
        received = exposure(name, ledger, by_name.get(name))
        content.maps += [] if maps is None else [maps]
        content.exposure += [] if received is None else [received]
    if training and not seen:  # it ended before its ledgers were written
        for layer, found in rows.maps.items():
            maps = array_maps(f"layer {layer}", {}, found, {})
            received = exposure(f"layer {layer}", {}, found)
            content.maps += [] if maps is None else [maps]
            content.exposure += [] if received is None else [received]
    content.compliance = {
        f"layer {layer}" if training else names[0]: found
        for layer, found in rows.maps.items()
        if found.compliance.any()
    }


def _numbers(content: Content, rows: DeviceRows, n_readings: int) -> dict[str, tuple[str, float]]:
    """Return the key figures: name -> (as text, value)."""
    found: dict[str, tuple[str, float]] = {}

    def put(name: str, text: str, value: float) -> None:
        if value == value:
            found[name] = (text, value)

    for training in content.learning:
        of = f" ({training.method})" if training.method else ""
        put(f"test accuracy{of}", percent(float(training.test_accuracy[-1]), 2),
            float(training.test_accuracy[-1]))  # fmt: skip
        if training.float_accuracy.size:
            put(f"floating point, same network{of}", percent(float(training.float_accuracy[-1]), 2),
                float(training.float_accuracy[-1]))  # fmt: skip
    for where, curve in content.ltp_ltd.items():
        of = f" ({where})" if where else ""
        numbers = curve.numbers()
        for key, name in (("low_siemens", "lowest mean conductance"),
                          ("high_siemens", "highest mean conductance")):  # fmt: skip
            if key in numbers:
                put(f"{name}{of}", quantity(numbers[key], "S"), numbers[key])
        if "ratio" in numbers:
            put(f"on/off ratio of the mean{of}", f"{numbers['ratio']:.1f}", numbers["ratio"])
        for key, name in (("c2c", "cycle-to-cycle"), ("d2d", "device-to-device")):
            if key in numbers:
                put(f"{name} spread, of the window{of}", percent(numbers[key]), numbers[key])
    if content.retention is not None:
        change = content.retention.change()
        over = quantity(float(content.retention.wait_s[-1]), "s", 3)
        put(f"median change after {over}", percent(change), change)
    if content.endurance is not None:
        window, cycle = content.endurance.window(), content.endurance.cycle
        put("window in the first cycle", f"{window[0]:.2f}", float(window[0]))
        put(f"window in cycle {cycle[-1]}", f"{window[-1]:.2f}", float(window[-1]))
    return found


def _banner(recorded: Recorded) -> str:
    status = recorded.run.status
    if status == "done":
        return ""
    if recorded.run.stop is None:
        state = "is still being written" if recorded.run.is_running else "crashed"
        return f"This run {state}: it has no stop record. What follows is what is on the disk."
    error = recorded.run.stop.get("error") or next(
        (e.get("error") for e in reversed(recorded.events("fault"))), None
    )
    text = f"This run did not reach its end: {status}"
    return f"{text}: {error}" if error else f"{text}."


def _simulated(recorded: Recorded) -> str:
    if not recorded.manifest.get("simulated"):
        return ""
    if recorded.meta.get("bench"):
        return "simulated: the instruments are emulated on a virtual bench, the devices modelled"
    return "simulated: no device was driven, the array is a model"


def _files(recorded: Recorded) -> dict[str, str]:
    listed = mapping(recorded.manifest.get("config"))
    names = sorted(listed, key=lambda n: (_SHOWN.index(n) if n in _SHOWN else len(_SHOWN), n))
    texts: dict[str, Any] = {
        name: recorded.text(f"config/{name}") for name in names if _plain(name)
    }
    return {name: text for name, text in texts.items() if text is not None}


def _plain(name: object) -> bool:
    """Whether a name in the manifest is that of a file in ``config``, and of nothing outside."""
    return isinstance(name, str) and name == Path(name).name and name not in ("", ".", "..")
