"""Devices to and from CrossSim 2: look-up tables of ΔG, and the ramps that they are made from.

``dG_increasing.txt`` and ``dG_decreasing.txt``, comma-separated: a line of text, a line of
conductances in siemens, a line of points of the cumulative distribution (0 … 1), then a matrix of
ΔG in siemens, a row per point and a column per conductance. Both files have the same conductances
and points. CrossSim draws a point and takes the nearest row and column.

``set.csv`` and ``reset.csv`` are its raw data: read currents, one header line, one ramp per column.
(Agarwal et al., IJCNN 2016; facts from the published program, BSD-3-Clause.)
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Final

import numpy as np
from hil_sim.models.device import Device
from hil_sim.models.response import DEVIATES, BranchTable

from hil.errors import ConfigError
from hil.interchange.exchange import Exported, Imported, build_device, comment_lines
from hil.interchange.left_out import left_out
from hil.interchange.steps import (
    FloatArray,
    Response,
    branch_of,
    lookup_branch,
    lookup_columns,
    spread,
    step,
)

TABLES: Final = ("dG_increasing.txt", "dG_decreasing.txt")
RAMPS: Final = ("set.csv", "reset.csv")
#: Conductances and points of a written table, as CrossSim makes them; bins of a ramp's ΔG.
POINTS: Final = 501
BINS: Final = 50
_NORMAL_WITHIN = 0.05
_RAMP_NOISE: Final = ("step_c2c", "range_c2c", "read_noise", "read_noise_siemens")


def export(device: Device, points: int = POINTS) -> Exported:
    """Return both tables of ΔG by one nominal pulse.

    Args:
        device: any device.
        points: conductances over the range, and points of the distribution.
    """
    low, high = device.range.g_min, device.range.g_max
    held = {"model", "range", "potentiation", "depression"}
    held |= {"variation.step_c2c", "variation.range_c2c"}
    not_held = left_out(device, held)
    approximate = []
    if any(b.quantiles for b in (device.potentiation, device.depression)) and (
        device.variation.step_c2c or device.variation.range_c2c
    ):
        approximate.append("all cycle-to-cycle noise together has the shape of the table's")
    made = Exported({}, "look-up tables", not_held, approximate)
    files = {}
    g = np.linspace(low, high, points)
    for name, up in zip(TABLES, (True, False), strict=True):
        u = (g - low) / (high - low) if up else (high - g) / (high - low)
        z = _row_deviates(points)
        shape = _shape(device, up, u, z)
        d, s = step(device, up, u), spread(device, up, u)
        rows = (d + s * shape) * (high - low)
        if not up:
            rows = -rows[::-1]
        title = f"CrossSim table of dG by one pulse, {'increasing' if up else 'decreasing'}"
        comment = "; ".join(comment_lines(device, title, made))
        files[name] = _table_text(comment, g, np.linspace(0.0, 1.0, points), rows)
    return Exported(files, "look-up tables", not_held, approximate)


def _row_deviates(n: int) -> FloatArray:
    """Return the normal deviates of n rows: each the mean over the probabilities that take it."""
    edges = np.clip((np.arange(n + 1) - 0.5) / (n - 1), 0.0, 1.0)
    normal = NormalDist()
    density = [normal.pdf(normal.inv_cdf(p)) if 0.0 < p < 1.0 else 0.0 for p in edges]
    z = -np.diff(density) / np.diff(edges)
    out: FloatArray = z / np.sqrt(np.sum(z**2 * np.diff(edges)))
    return out


def _weights(points: FloatArray) -> FloatArray:
    """Return the probability of each row: that its point is the nearest."""
    middles = (points[1:] + points[:-1]) / 2
    return np.diff(np.concatenate([[points[0]], middles, [points[-1]]]))


def _shape(device: Device, up: bool, u: FloatArray, z: FloatArray) -> FloatArray:
    """Return (rows, conductances) deviates of mean 0 and standard deviation 1."""
    branch = branch_of(device, up)
    if device.model != "lookup" or branch.levels is None or branch.quantiles is None:
        return np.repeat(z[:, None], u.size, axis=1)
    at = [NormalDist().inv_cdf(level) for level in branch.levels]
    columns = [lookup_columns(device, up, np.asarray(row)) for row in branch.quantiles]
    values = np.array([np.interp(u, *column) for column in columns])
    slopes = [
        (values[1] - values[0]) / (at[1] - at[0]),
        (values[-1] - values[-2]) / (at[-1] - at[-2]),
    ]
    out = np.array([np.interp(z, at, column) for column in values.T]).T
    below, above = z < at[0], z > at[-1]
    out[below] = values[0] + np.outer(z[below] - at[0], slopes[0])
    out[above] = values[-1] + np.outer(z[above] - at[-1], slopes[1])
    weight = _weights(np.linspace(0.0, 1.0, z.size))
    mean = weight @ out
    size = np.sqrt(weight @ (out - mean) ** 2)
    flat = size <= 1e-12 * np.abs(out).max()
    shaped: FloatArray = np.where(flat, z[:, None], (out - mean) / np.where(flat, 1.0, size))
    return shaped


def _table_text(comment: str, g: FloatArray, points: FloatArray, rows: FloatArray) -> str:
    lines = [comment.replace(",", ";")]
    lines += [",".join(f"{x:.9g}" for x in row) for row in (g, points, *rows)]
    return "\n".join(lines) + "\n"


def import_(texts: dict[str, str], like: Device, path: str | None = None) -> Imported:
    """Return the device of both tables, by file name.

    Args:
        texts: the files' texts.
        like: gives what the tables do not hold: pulses, currents, terminals, operating point.
        path: folder of the files, for errors.

    Raises:
        ConfigError: a file is no such table, or both do not fit together.
    """
    branches, ranges, said = [], [], []
    for name, up in zip(TABLES, (True, False), strict=True):
        where = name if path is None else f"{path}/{name}"
        g, points, rows = _read_table(texts[name], where)
        branch, more = _branch(g, points, rows, up, where)
        branches.append(branch)
        ranges.append(g)
        said += [f"{name}: {line}" for line in more]
    if ranges[0].shape != ranges[1].shape or not np.allclose(
        ranges[0], ranges[1], rtol=1e-9, atol=0.0
    ):
        raise ConfigError("the two tables have different conductances", path=path)
    device, assumed = build_device(
        f"{like.name}-crosssim", like, Response("lookup", branches[0], branches[1]),
        g_range=(float(ranges[0][0]), float(ranges[0][-1])), variation={},
        origin="imported from CrossSim's look-up tables",
    )  # fmt: skip
    return Imported(device, "CrossSim look-up tables", [], said, assumed)


def _read_table(text: str, path: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    lines = text.splitlines()
    if len(lines) < 5:
        raise ConfigError("a table has a line of text, conductances, points and rows", path=path)
    numbers = []
    for at, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            numbers.append(np.array([float(x) for x in line.split(",")]))
        except ValueError as exc:
            raise ConfigError("is no line of numbers", path=path, line=at) from exc
        if not np.isfinite(numbers[-1]).all():
            raise ConfigError("has a number that is not finite", path=path, line=at)
    g, points, rows = numbers[0], numbers[1], numbers[2:]
    if len(rows) != points.size or any(row.size != g.size for row in rows):
        raise ConfigError(
            f"{len(rows)} rows do not fit {points.size} points and {g.size} conductances", path=path
        )
    if g.size < 2 or not (np.diff(g) > 0).all() or g[0] <= 0.0:
        raise ConfigError("conductances must rise, from above 0", path=path, line=2)
    if points.size < 2 or not (np.diff(points) > 0).all() or not -1e-9 <= points[0] < 1.0:
        raise ConfigError("points of a distribution must rise from 0 to 1", path=path, line=3)
    return g, points, np.array(rows)


def _branch(
    g: FloatArray, points: FloatArray, rows: FloatArray, up: bool, path: str
) -> tuple[BranchTable, list[str]]:
    along = rows if up else -rows[::-1]
    at = points if up else points[0] + points[-1] - points[::-1]
    weight = _weights(at) / (at[-1] - at[0])
    mean = weight @ along
    if not mean.mean() > 0.0:
        raise ConfigError("pulses go the other way; are the two files exchanged?", path=path)
    size = np.sqrt(weight @ (along - mean) ** 2)
    if size.max() <= 1e-9 * np.abs(mean).max():
        return lookup_branch(g, mean), []
    middles = (np.cumsum(weight) - weight / 2).clip(1e-12, 1 - 1e-12)
    z = np.array([NormalDist().inv_cdf(float(p)) for p in middles])
    safe = np.where(size > 0.0, size, 1.0)
    off = np.abs((along - mean) / safe - z[:, None])[np.abs(z) <= 2.0].max()
    if off <= _NORMAL_WITHIN:
        return lookup_branch(g, mean, size), []
    levels = np.array([NormalDist().cdf(float(x)) for x in DEVIATES])
    sorted_rows = np.sort(along, axis=0)
    quantiles = np.array([np.interp(levels, middles, column) for column in sorted_rows.T]).T
    said = [
        f"the distribution's shape is kept at {levels.size} of its {points.size} points "
        f"({levels[0]:.4f} … {levels[-1]:.4f}) and stretched to the same spread"
    ]
    return lookup_branch(g, mean, size, levels, quantiles), said


def export_ramps(device: Device, ramps: int = 20, seed: int = 0) -> Exported:
    """Return ``set.csv`` and ``reset.csv``: read currents of a median device, noise drawn.

    Args:
        device: any device.
        ramps: columns.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    low, high = device.range.g_min, device.range.g_max
    v = device.variation
    held = {"model", "range", "potentiation", "depression"}
    held |= {f"variation.{k}" for k in _RAMP_NOISE}
    not_held = left_out(device, held)
    approximate = [
        f"{ramps} ramps of a median device with noise drawn from seed {seed}, read at "
        f"{device.drive.read_voltage:g} V"
    ]
    made = Exported({}, "ramps", not_held, approximate)
    files = {}
    for name, up in zip(RAMPS, (True, False), strict=True):
        u = np.zeros(ramps)
        taken = [u]
        for _ in range(_ramp_length(device, up)):
            moved = u + step(device, up, u) + spread(device, up, u) * rng.standard_normal(ramps)
            u = np.clip(moved, 0.0, 1.0)
            taken.append(u)
        shares = np.array(taken)
        g = low + (high - low) * shares if up else high - (high - low) * shares
        noise = np.sqrt((v.read_noise * g) ** 2 + v.read_noise_siemens**2)
        current = (g + noise * rng.standard_normal(g.shape)) * device.drive.read_voltage
        title = f"CrossSim {'SET' if up else 'RESET'} ramps, read current in amperes"
        comment = "; ".join(comment_lines(device, title, made)).replace(",", ";")
        rows = [",".join(f"{x:.9g}" for x in row) for row in current]
        files[name] = "\n".join([comment, *rows]) + "\n"
    return Exported(files, "ramps", not_held, approximate)


def _ramp_length(device: Device, up: bool, most: int = 2000) -> int:
    u, n = np.zeros(1), 0
    while u[0] < 0.99 and n < most:
        moved = np.minimum(u + step(device, up, u), 1.0)
        if moved[0] - u[0] < 1e-4:
            break
        u, n = moved, n + 1
    return max(n, 4)


def import_ramps(
    texts: dict[str, str], like: Device, read_v: float, path: str | None = None
) -> Imported:
    """Return the device of both ramp files: mean and spread of ΔG in 50 bins of conductance.

    Args:
        texts: the files' texts.
        like: gives what the ramps do not hold.
        read_v: voltage at which the currents were read, volts; 1 where they are conductances.
        path: folder of the files, for errors.

    Raises:
        ConfigError: a file has too few numbers, or its pulses do not move the conductance its way.
    """
    measured = []
    for name in RAMPS:
        where = name if path is None else f"{path}/{name}"
        measured.append(_read_ramps(texts[name], where) / read_v)
    low = min(float(np.nanmin(g)) for g in measured)
    high = max(float(np.nanmax(g)) for g in measured)
    if not 0.0 < low < high:
        raise ConfigError(f"conductances from {low:g} S to {high:g} S make no range", path=path)
    branches, said = [], []
    for name, g, up in zip(RAMPS, measured, (True, False), strict=True):
        middle = ((g[1:] + g[:-1]) / 2).ravel()
        delta = (np.diff(g, axis=0) if up else -np.diff(g, axis=0)).ravel()
        good = np.isfinite(delta)
        middle, delta = middle[good], delta[good]
        if not delta.mean() > 0.0:
            raise ConfigError("pulses go the other way; are the two files exchanged?", path=name)
        which = np.clip(((middle - low) / (high - low) * BINS).astype(int), 0, BINS - 1)
        full = np.flatnonzero(np.bincount(which, minlength=BINS) >= 2)
        if full.size < 2:
            raise ConfigError("needs two readings in each of two bins at least", path=name)
        at, mean, size = (
            np.array([f(x[which == k]) for k in full])
            for f, x in ((np.mean, middle), (np.mean, delta), (lambda x: np.std(x, ddof=1), delta))
        )
        # At mid-points read noise does not tilt the curve; but a step belongs to where it began.
        begin = at - mean / 2 if up else at + mean / 2
        order = np.argsort(begin)
        order = order[np.diff(begin[order], prepend=-np.inf) > 1e-6 * (high - low)]
        branches.append(lookup_branch(begin[order], mean[order], size[order]))
        said.append(
            f"{name}: {delta.size} steps in {full.size} of {BINS} bins; their spread holds read "
            "noise, too"
        )
    device, assumed = build_device(
        f"{like.name}-ramps", like, Response("lookup", branches[0], branches[1]),
        g_range=(low, high), variation={}, origin="imported from CrossSim's set.csv and reset.csv",
    )  # fmt: skip
    assumed.append(f"read voltage {read_v:g} V")
    return Imported(device, "CrossSim ramps", [], said, assumed)


def _read_ramps(text: str, path: str) -> FloatArray:
    rows = []
    for at, line in enumerate(text.splitlines()[1:], start=2):
        if not line.strip():
            continue
        try:
            rows.append([float(x) if x.strip() else np.nan for x in line.split(",")])
        except ValueError as exc:
            raise ConfigError("is no line of numbers", path=path, line=at) from exc
        if len(rows[-1]) != len(rows[0]):
            raise ConfigError(f"has {len(rows[-1])} columns, the first {len(rows[0])}", path=path,
                              line=at)  # fmt: skip
    if len(rows) < 3:
        raise ConfigError("a ramp needs at least 3 readings below a header line", path=path)
    return np.array(rows)
