"""What the page is told: each view of a run as plain values, at most 2 000 points per trace."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import ConfigError
from hil.measurement import Status
from hil.monitor.decimate import kept
from hil.monitor.devices import Devices
from hil.monitor.estimate import progress_of, status_of
from hil.monitor.feed import Feed

View = dict[str, Any]

#: Events that the page shows, the newest ones.
_EVENTS_SHOWN: Final = 200
_BINS: Final = 60
#: Devices whose current-voltage curves are shown.
_IV_DEVICES: Final = 16
#: Protocols whose pulses depend on readings, so that a mean over their pulses says nothing.
_NO_CURVE: Final = frozenset({"write-verify", "pair-init", "refresh", "update", "pulse-map"})
#: Events that somebody has to see; the rest is the run's course.
_LOUD: Final = {"fault": "fault", "alarm": "alarm", "unfinished": "fault", "limit": "limit"}


@dataclass(frozen=True, slots=True)
class Section:
    """A view, the topics of the feed that change it, and how often it is made at most."""

    name: str
    topics: tuple[str, ...]
    every_s: float
    build: Callable[[Feed], View | None]


def sections() -> tuple[Section, ...]:
    """Return all views but those of single arrays."""
    return (
        Section("run", ("stop",), 0.5, run_view),
        Section("progress", ("ops", "events", "stop", "disk"), 0.5, progress_view),
        Section("counts", ("rows", "checkpoints"), 1.0, counts_view),
        Section("curve", ("rows",), 1.0, curve_view),
        Section("learning", ("events",), 0.5, learning_view),
        Section("iv", ("checkpoints",), 1.0, iv_view),
        Section("events", ("events", "stop"), 0.3, events_view),
        Section("health", ("status", "disk", "stop"), 1.0, health_view),
    )


def run_view(feed: Feed) -> View:
    """Return what does not change while a run goes on, and how it ended."""
    manifest, place, stop = feed.run.manifest, feed.place, feed.stop or {}
    meta = manifest.get("meta") or {}
    return {
        "id": manifest.get("id"), "name": manifest.get("name"), "kind": manifest.get("kind"),
        "folder": feed.path.name, "station": place.station, "backend": manifest.get("backend"),
        "simulated": bool(manifest.get("simulated")), "bench": meta.get("bench"),
        "identity": meta.get("identity"), "sample": manifest.get("sample"),
        "operator": manifest.get("operator"), "started": manifest.get("utc_epoch"),
        "started_ns": manifest.get("utc_epoch_ns"), "stopped": stop.get("utc"),
        "error": stop.get("error"), "array": place.only,
        "arrays": [
            {"name": a.name, "rows": a.shape[0], "cols": a.shape[1]} for a in place.arrays.values()
        ],
        "instruments": [
            {key: str(item[key]) for key in ("name", "driver", "resource") if item.get(key)}
            for item in manifest.get("instruments") or ()
            if isinstance(item, dict)
        ],
        "software": (manifest.get("software") or {}).get("synapse-hil"),
        "levels": manifest.get("levels"),
        "limits": manifest.get("limits"),
    }  # fmt: skip


def progress_view(feed: Feed) -> View:
    """Return status, how much is done and when it will be finished."""
    progress = progress_of(feed)
    rates = [(t, n) for t, n in feed.rate]
    per_s: list[float] = []
    ages: list[float] = []
    now_s = time.monotonic()
    for (t0, n0), (t1, n1) in pairwise(rates):
        per_s.append((n1 - n0) / (t1 - t0))
        ages.append(t1 - now_s)
    return {
        "status": status_of(feed), "done": progress.done, "left_s": progress.left_s,
        "what": progress.what, "elapsed_s": progress.elapsed_s, "rows": feed.rows,
        "ops": dict(feed.ops), "behind": feed.behind,
        "rate": {"x": _list(ages, 4), "y": _list(per_s, 4)},
    }  # fmt: skip


def map_view(devices: Devices, feed: Feed) -> View:
    """Return the conductances of an array in siemens; the rest comes with :func:`cells_view`."""
    return {
        "array": devices.name, "rows": devices.shape[0], "cols": devices.shape[1],
        "t_ns": devices.t_ns, "seq": feed.rows["pulses"],
        "last": devices.last_cell, "g": packed(devices.g_siemens, "f4"),
    }  # fmt: skip


def cells_view(devices: Devices, feed: Feed) -> View:
    """Return what changes less often per device: pulses, targets, marks, and the range."""
    point = ((feed.run.manifest.get("meta") or {}).get("operating_points") or {}).get(
        devices.name
    ) or {}
    target = devices.target_siemens
    outcome = devices.outcome
    names: list[str] = []
    codes = None
    if outcome is not None:
        names, found = _coded(outcome)
        codes = packed(found, "u1")
    return {
        "array": devices.name, "rows": devices.shape[0], "cols": devices.shape[1],
        "up": packed(devices.pulses_up, "u4"), "down": packed(devices.pulses_down, "u4"),
        "status": packed(devices.status, "u4"), "failed": packed(devices.failed(), "u1"),
        "dead": packed(devices.dead, "u1"),
        "target": None if target is None else packed(target, "f4"),
        "outcome": codes, "outcomes": names,
        "g_min": _number(point.get("g_min_siemens")), "g_max": _number(point.get("g_max_siemens")),
        "bits": {str(bit.name): int(bit) for bit in Status if bit},
    }  # fmt: skip


def cell_view(devices: Devices, row: int, col: int) -> View:
    """Return one device's conductance over its pulses.

    Raises:
        ConfigError: the array has no such device.
    """
    n_rows, n_cols = devices.shape
    if not (0 <= row < n_rows and 0 <= col < n_cols):
        raise ConfigError(f"no device ({row}, {col}) on {n_rows} x {n_cols}", field="cell")
    trace = devices.history.trace(row * n_cols + col)
    at = kept(trace.g_siemens)
    return {
        "array": devices.name, "row": row, "col": col, "stride": trace.stride,
        "pulses": trace.pulses[at].tolist(), "in_cycle": trace.in_cycle[at].tolist(),
        "cycle": trace.cycle[at].tolist(), "g": _list(trace.g_siemens[at], 5),
    }  # fmt: skip


def counts_view(feed: Feed) -> View | None:
    """Return how many devices received how many pulses, per array and direction."""
    arrays = []
    for devices in feed.arrays.values():
        up, down = devices.pulses_up.reshape(-1), devices.pulses_down.reshape(-1)
        most = int(max(up.max(initial=0), down.max(initial=0)))
        width = max(-(-(most + 1) // _BINS), 1)
        edges = np.arange(0, most + width + 1, width)
        arrays.append(
            {
                "array": devices.name, "width": width, "x": edges[:-1].tolist(),
                "up": np.histogram(up, edges)[0].tolist(),
                "down": np.histogram(down, edges)[0].tolist(),
                "total": int(up.sum() + down.sum()), "most": int((up + down).max(initial=0)),
                "median": float(np.median(up + down)),
            }
        )  # fmt: skip
    return {"arrays": arrays}


def curve_view(feed: Feed) -> View:
    """Return mean and spread of the conductance over the pulses of a cycle, per array."""
    arrays: list[View] = []
    if (feed.run.manifest.get("meta") or {}).get("kind") in _NO_CURVE:
        return {"arrays": arrays}
    for devices in feed.arrays.values():
        pulses, mean, spread = devices.curve.points()
        if len(pulses):
            arrays.append(
                {
                    "array": devices.name, "width": devices.curve.width, "x": _list(pulses, 8),
                    "mean": _list(mean, 5), "low": _list(mean - spread, 5),
                    "high": _list(mean + spread, 5),
                }
            )  # fmt: skip
    return {"arrays": arrays}


def learning_view(feed: Feed) -> View:
    """Return accuracies and losses per epoch, and the floating-point network's beside them."""
    methods = []
    for method in dict.fromkeys((*feed.epochs, *feed.float_reference)):
        epochs = feed.epochs.get(method, [])
        reference = feed.float_reference.get(method)
        at = kept(np.arange(len(epochs)))
        some = [epochs[k] for k in at]
        methods.append(
            {
                "method": method, "epoch": [_number(e.get("epoch")) for e in some],
                **{
                    name: [_number(e.get(name)) for e in some]
                    for name in ("test_accuracy", "train_accuracy", "train_loss", "write_pulses")
                },
                "float": None if reference is None else [_number(v) for v in reference[:2000]],
            }
        )  # fmt: skip
    return {"methods": methods}


def iv_view(feed: Feed) -> View:
    """Return current over voltage of a sweep's devices, in amperes and volts."""
    found = feed.outcome or {}
    v, i = found.get("voltage_v"), found.get("current_a")
    if v is None or i is None or v.ndim != 1 or i.ndim != 2 or len(i) != len(v):
        return {"curves": []}
    rows, cols = found.get("row"), found.get("col")
    curves = []
    for k in range(min(i.shape[1], _IV_DEVICES)):
        at = kept(i[:, k])
        cell = None if rows is None or cols is None else [int(rows[k]), int(cols[k])]
        curves.append({"cell": cell, "v": _list(v[at], 5), "i": _list(i[at, k], 5)})
    return {"curves": curves, "more": max(i.shape[1] - _IV_DEVICES, 0)}


def events_view(feed: Feed) -> View:
    """Return the newest events, and those that somebody has to see."""
    shown = list(feed.events)[-_EVENTS_SHOWN:]
    return {
        "total": feed.n_events,
        "events": [_event(event) for event in shown],
        "loud": [_event(e) for e in feed.events if e.get("kind") in _LOUD][-20:],
        "problems": feed.problems[-20:],
    }


def _event(event: View) -> View:
    kind = str(event.get("kind"))
    untold = ("kind", "t_ns", "utc", "sha256")
    told = {k: v for k, v in event.items() if k not in untold and v not in (None, "", {}, [])}
    text = ", ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in told.items())
    return {
        "t_ns": event.get("t_ns"), "utc": event.get("utc"), "kind": kind,
        "level": _LOUD.get(kind, "note"), "text": text[:500],
    }  # fmt: skip


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and len(value) > 8:
        return f"[{', '.join(_short(v) for v in value[:6])}, … {len(value)} in all]"
    if isinstance(value, list):
        return f"[{', '.join(_short(v) for v in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} {_short(v)}" for k, v in value.items()) + "}"
    return str(value)


def health_view(feed: Feed) -> View:
    """Return statuses seen so far, and the disk."""
    disk = feed.disk
    return {
        "statuses": dict(feed.status_counts),
        "disk": {
            "free": disk.free_bytes, "total": disk.total_bytes, "run": disk.run_bytes,
            "per_s": disk.bytes_per_s if feed.stop is None else 0.0,
        },
    }  # fmt: skip


def packed(values: ArrayLike, dtype: str) -> str:
    """Return values as base64 text of little-endian numbers, row by row."""
    array = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
    return base64.b64encode(array.tobytes()).decode("ascii")


def _coded(texts: NDArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    names, codes = np.unique(texts, return_inverse=True)
    return [str(name) for name in names], codes.reshape(texts.shape)


def _number(value: object) -> float | None:
    """Return a finite number, None for anything else (NaN has no form in JSON)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if np.isfinite(value) else None


def _list(values: Iterable[float] | NDArray[Any], digits: int) -> list[float | None]:
    """Return numbers with some significant digits, None where they are not finite."""
    array = np.asarray(values, dtype=np.float64)
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in array]
