"""What ran, on what, within which limits: tables of text for the report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hil.report.recorded import Recorded
from hil.report.text import count, described, mapping, moment, number, percent, quantity

#: Rows of a table that are shown; the run folder has all.
MOST_ROWS: Final = 120
INCIDENTS: Final = ("fault", "alarm", "limit", "unfinished", "pause", "resume")
_RESULTS: Final = {
    "test_accuracy": "test accuracy", "float_accuracy": "floating point, same network",
    "device_pulses": "device pulses", "write_pulses": "write pulses",
    "refresh_pulses": "refresh pulses", "readings": "readings", "blocks": "blocks",
    "n_ok": "devices at their target", "n_cells": "devices chosen",
    "iterations": "iterations", "worst_half_select_v": "worst half-select voltage",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table of text with a title; ``note`` is printed below it, ``marked`` rows stand out."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    marked: frozenset[int] = frozenset()


def cut(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> Table:
    """Return a table of at most :data:`MOST_ROWS` rows that says how many were left out."""
    shown = tuple(tuple(row) for row in rows[:MOST_ROWS])
    left = len(rows) - len(shown)
    more = f"{left} further rows are in the run folder." if left > 0 else ""
    return Table(title, tuple(head), shown, " ".join(text for text in (note, more) if text))


def what_ran(recorded: Recorded) -> Table:
    """Return what ran, when, and what it gave."""
    manifest, meta = recorded.manifest, recorded.meta
    stop = recorded.run.stop or {}
    rows = [
        ("run", str(manifest.get("name"))),
        ("kind", str(manifest.get("kind"))),
        ("protocol", _joined(meta.get("protocol"), meta.get("kind"))),
        ("training", _joined(meta.get("training"), meta.get("dataset"))),
        ("array", meta.get("array")),
        ("station", recorded.station.get("name")),
        ("chip", manifest.get("chip") or meta.get("chip") or recorded.station.get("chip")),
        ("sample", manifest.get("sample")),
        ("operator", manifest.get("operator")),
        ("started", moment(manifest.get("utc_epoch"))),
        ("ended", moment(stop["utc"]) if "utc" in stop else None),
        ("status", recorded.run.status),
        *_results(recorded),
        ("rows recorded", _rows_of(stop)),
        ("recording levels", _levels(recorded)),
        ("seeds", ", ".join(f"{k} {v}" for k, v in mapping(manifest.get("seeds")).items())),
        ("run id", manifest.get("id")),
        ("folder", recorded.run.path.name),
    ]
    return Table("What ran", (), tuple((k, str(v)) for k, v in rows if v not in (None, "")))


def on_what(recorded: Recorded) -> list[Table]:
    """Return the backend, its instruments with serial and firmware, and their calibration."""
    manifest, meta = recorded.manifest, recorded.meta
    identity = str(meta.get("identity", ""))
    arrays = [
        (name, "–" if shape is None else f"{shape[0]} × {shape[1]}", *_array_facts(recorded, name))
        for name, shape in recorded.arrays.items()
    ]
    tables = [
        Table("On what", (), (
            ("backend", str(manifest.get("backend"))),
            *((("identity", identity),) if identity else ()),
        )),
        Table("Arrays", ("array", "rows × columns", "cell", "pairs", "device"), tuple(arrays)),
    ]  # fmt: skip
    listed = manifest.get("instruments")
    instruments = [mapping(i) for i in listed] if isinstance(listed, list) else []
    if instruments:
        texts = instrument_texts(identity, [str(i.get("name")) for i in instruments])
        tables.append(cut(
            "Instruments", ("name", "answers as", "driver", "resource"),
            [(str(i.get("name")), texts.get(str(i.get("name")), "–"), str(i.get("driver")),
              str(i.get("resource"))) for i in instruments],
        ))  # fmt: skip
    calibration = [
        (array, str(facts.get("file")), moment(facts.get("date")),
         quantity(number(facts.get("age_s")), "s", 3), "yes" if facts.get("used") else "no",
         str(facts.get("sha256"))[:12], "; ".join(map(str, facts.get("notes") or [])))
        for array, facts in (
            (str(k), mapping(v)) for k, v in mapping(meta.get("calibration")).items()
        )
    ]  # fmt: skip
    if calibration:
        head = ("array", "file", "date", "age at the start", "used", "sha256", "notes")
        tables.append(cut("Calibration", head, calibration))
    return tables


def instrument_texts(identity: str, names: Sequence[str]) -> dict[str, str]:
    """Return what every instrument answers as, taken from the backend's line of identity.

    The line reads ``backend: first: TEXT; second: TEXT; …``.
    """
    found: dict[str, str] = {}
    for part in identity.split("; "):
        for name in names:
            match = re.search(rf"(?:^|: ){re.escape(name)}: (.+)", part)
            if match is not None:
                found.setdefault(name, match.group(1))
    return found


def limits(recorded: Recorded) -> list[Table]:
    """Return the limits in force and the operating point; arrays that share them share a table."""
    points = {
        name: {k: v for k, v in mapping(fields).items() if v not in (0, 0.0, None)}
        for name, fields in mapping(recorded.meta.get("operating_points")).items()
    }
    tables = []
    for title, by_array in (
        ("Limits in force", mapping(recorded.manifest.get("limits"))), ("Operating point", points)
    ):  # fmt: skip
        of: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for name, fields in by_array.items():
            of.setdefault(tuple(described(mapping(fields))), []).append(str(name))
        tables += [Table(f"{title}: {', '.join(names)}", (), rows) for rows, names in of.items()]
    return tables


def wiring(recorded: Recorded) -> Table | None:
    """Return the wiring of the station file, None where it has none."""
    listed = recorded.station.get("wiring")
    wires = [mapping(wire) for wire in listed] if isinstance(listed, list) else []
    if not wires:
        return None
    digest = recorded.manifest.get("wiring_digest")
    return cut(
        "Wiring", ("array", "line", "crosspoint", "channel"),
        [(str(w.get("array", "main")), str(w.get("line")), str(w.get("crosspoint") or "direct"),
          str(w.get("channel"))) for w in wires],
        f"Digest: {digest}." if digest else "",
    )  # fmt: skip


def incidents(recorded: Recorded) -> Table | None:
    """Return faults, alarms, limits reached and unfinished blocks, None where there are none."""
    rows = []
    for event in recorded.run.events:
        kind = event.get("kind")
        if kind in INCIDENTS:
            rows.append((quantity(number(event.get("t_ns")) * 1e-9, "s"), str(kind),
                         _told(event)))  # fmt: skip
    if not rows:
        return None
    return cut("Compliance, limits and faults", ("time", "event", "what"), rows)


def unknown_devices(recorded: Recorded) -> Table | None:
    """Return the devices that were being written when the run ended, None where there are none."""
    rows = []
    for array, cells in recorded.run.unknown_devices().items():
        some = ", ".join(f"({row}, {col})" for row, col in cells[:12].tolist())
        rows.append((array, count(len(cells)), some + ", …" * (len(cells) > 12)))
    if not rows:
        return None
    return Table(
        "Devices of unknown state", ("array", "devices", "row and column"), tuple(rows),
        "They were being written when the run ended. Read them before anything else.",
    )  # fmt: skip


def status_counts(readings: dict[str, int], pulses: dict[str, int]) -> Table | None:
    """Return how many rows carry which status bit, None where none does."""
    names = list(dict.fromkeys((*readings, *pulses)))
    if not names:
        return None
    rows = [(name.lower().replace("_", " "), count(readings.get(name, 0)),
             count(pulses.get(name, 0))) for name in names]  # fmt: skip
    return Table("Rows that carry a status", ("status", "readings", "device pulses"), tuple(rows))


def versions(recorded: Recorded) -> list[Table]:
    """Return software, computer, version control and the files used."""
    manifest, host = recorded.manifest, recorded.host
    rows = [(str(k), str(v)) for k, v in mapping(manifest.get("software")).items()]
    rows += [(name, str(host[key])) for name, key in (("platform", "platform"), ("host", "host"))
             if key in host]  # fmt: skip
    git = mapping(manifest.get("git"))
    if git:
        rows.append(("git commit", f"{git.get('commit')}{', changed' * bool(git.get('dirty'))}"))
    rows.append(("run folder format", str(manifest.get("format"))))
    files = [
        (name, count(number(mapping(facts).get("bytes"))), str(mapping(facts).get("sha256")),
         str(mapping(facts).get("source") or "shipped"))
        for name, facts in mapping(manifest.get("config")).items()
    ]  # fmt: skip
    tables = [Table("Versions", (), tuple(rows))]
    if files:
        tables.append(cut("Files used", ("file", "bytes", "sha256", "from"), files))
    return tables


def _told(event: dict[str, Any]) -> str:
    """Return an event's own fields in one line."""
    parts = []
    for key, value in event.items():
        if key in ("t_ns", "utc", "kind"):
            continue
        if isinstance(value, list):
            value = _listed(value)
        parts.append(str(value) if key in ("error", "what") else f"{key.replace('_', ' ')} {value}")
    return "; ".join(parts)


def _listed(values: Sequence[object]) -> str:
    shown = ", ".join(str(v) for v in values[:8])
    return shown if len(values) <= 8 else f"{shown}, … ({len(values)} in all)"


def _results(recorded: Recorded) -> list[tuple[str, str]]:
    found = recorded.events("result")
    if not found:
        return []
    fields = {**found[-1], **mapping(found[-1].get("outcome"))}
    rows = []
    for key, name in _RESULTS.items():
        value = number(fields.get(key))
        if value != value:
            continue
        if key.endswith("accuracy"):
            rows.append((name, percent(value, 2)))
        else:
            rows.append((name, quantity(value, "V") if key.endswith("_v") else count(value)))
    seconds = number(fields.get("duration_s", fields.get("seconds")))
    if seconds == seconds:
        what = "duration on the array's clock" if "duration_s" in fields else "duration"
        rows.append((what, quantity(seconds, "s")))
    return rows


def _array_facts(recorded: Recorded, name: str) -> tuple[str, str, str]:
    tables = recorded.station.get("array")
    for table in tables if isinstance(tables, list) else []:
        if mapping(table).get("name", "main") == name:
            fields = mapping(table)
            return (str(fields.get("cell", "1R")), str(fields.get("pairs", "adjacent")),
                    str(fields.get("device", "–")))  # fmt: skip
    return "–", "–", "–"


def _joined(*texts: object) -> str:
    return ", ".join(dict.fromkeys(str(t) for t in texts if t))


def _rows_of(stop: dict[str, Any]) -> str:
    rows = mapping(stop.get("rows"))
    return ", ".join(f"{name} {count(number(n))}" for name, n in rows.items())


def _levels(recorded: Recorded) -> str:
    by_level: dict[str, list[str]] = {}
    for phase, level in mapping(recorded.manifest.get("levels")).items():
        by_level.setdefault(str(level), []).append(str(phase))
    if len(by_level) == 1:
        return next(iter(by_level))
    return "; ".join(f"{level}: {', '.join(phases)}" for level, phases in by_level.items())
