"""Where the layers of a network sit: arrays of their own, or tiles of one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from hil.backend import Backend
from hil.config.training import Training
from hil.control.array import SynapseArray
from hil.control.coupled import CoupledArray
from hil.control.network import ArrayNetwork
from hil.control.recorder import Recorder
from hil.control.roles import ExchangingArray
from hil.datasets.dataset import Dataset
from hil.errors import ConfigError, GeometryError
from hil.geometry import ArrayGeometry
from hil.operating import OperatingPoint
from hil.pairs import PairKind, PairMap

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Site:
    """An open array that layers may sit on; ``minus`` is its partner for pairs on two arrays.

    ``file`` is the station file that it comes from, for messages.
    """

    backend: Backend
    op: OperatingPoint
    pairs: PairKind = "adjacent"
    name: str = "main"
    minus: Backend | None = None
    file: Path | None = None


def layer_sizes(training: Training, dataset: Dataset) -> list[Size]:
    """Return (n_inputs, n_outputs) of every matrix that needs room, bias rows included.

    One per layer; Tiki-Taka has a second, fast array per layer, which follow all the first ones.
    """
    widths = [dataset.n_features, *training.network.hidden, dataset.n_classes]
    bias = int(training.network.bias)
    sizes = [(a + bias, b) for a, b in pairwise(widths)]
    return sizes * 2 if training.rule.method == "tiki-taka" else sizes


def lines_needed(size: Size, pairs: PairKind = "adjacent") -> Size:
    """Return (rows, columns) that a layer needs on an array without dead cells."""
    n_inputs, n_outputs = size
    cols = {"reference": n_outputs + 1, "two-arrays": n_outputs}.get(pairs, 2 * n_outputs)
    return n_inputs, cols


def place_layers(
    sizes: Sequence[Size],
    sites: Sequence[tuple[ArrayGeometry, PairKind]],
    how: Literal["auto", "arrays", "tiles"] = "auto",
) -> list[tuple[int, PairMap]]:
    """Return (site, pair map) of every layer; ``auto`` takes arrays where there are enough.

    Tiles stand below one another, so that they share columns but no row, or beside one another
    where that does not fit.

    Raises:
        ConfigError: they do not fit; says why.
    """
    if how == "arrays" or (how == "auto" and len(sites) >= len(sizes)):
        if len(sites) < len(sizes):
            raise ConfigError(
                f"{len(sizes)} layers need as many arrays, there are {len(sites)}",
                field="placement.layers",
            )
        return [
            (k, _fit(kind, geometry, size, k))
            for k, (size, (geometry, kind)) in enumerate(zip(sizes, sites, strict=False))
        ]
    reasons = []
    for site, (geometry, kind) in enumerate(sites):
        for below in (True, False):
            try:
                return [(site, tile) for tile in _tiles(sizes, geometry, kind, below)]
            except GeometryError as exc:
                reasons.append(exc.message)
    raise ConfigError(f"the layers do not fit as tiles: {reasons[0]}", field="placement.layers")


def _fit(kind: PairKind, geometry: ArrayGeometry, size: Size, k: int) -> PairMap:
    try:
        return PairMap.build(kind, geometry, *size)
    except GeometryError as exc:
        raise ConfigError(f"layer {k}: {exc.message}", field="placement.layers") from exc


def _tiles(
    sizes: Sequence[Size], geometry: ArrayGeometry, kind: PairKind, below: bool
) -> list[PairMap]:
    tiles: list[PairMap] = []
    row = col = 0
    for size in sizes:
        if row >= geometry.n_rows or col >= geometry.n_cols:
            raise GeometryError(
                f"layer {len(tiles)} of {size[0]} x {size[1]} weights finds no room on the "
                f"{geometry.n_rows} x {geometry.n_cols} array"
            )
        tile = PairMap.build(kind, geometry, *size, row=row, col=col)
        tiles.append(tile)
        if below:
            row = int(tile.rows.max()) + 1
        else:
            col = int(max(tile.plus_cols.max(), tile.minus_cols.max())) + 1
    return tiles


def build_network(
    training: Training, dataset: Dataset, sites: Sequence[Site], recorder: Recorder | None = None
) -> ArrayNetwork:
    """Return the network of a training file on open arrays; nothing is driven yet.

    Raises:
        ConfigError: the layers do not fit, or the pair map does not suit the method.
    """
    if not sites:
        raise ConfigError("there is no array to train on", field="placement.layers")
    kinds: list[PairKind] = [training.placement.pairs or site.pairs for site in sites]
    method = training.rule.method
    if "reference" in kinds and method != "M2":
        raise ConfigError(
            f"a shared reference column suits method M2 only, not {method}",
            field="placement.pairs",
        )
    try:
        placed = place_layers(
            layer_sizes(training, dataset),
            [(site.backend.geometry, kind) for site, kind in zip(sites, kinds, strict=True)],
            training.placement.layers,
        )
    except ConfigError as exc:
        arrays = ", ".join(
            f"{site.name} {site.backend.geometry.n_rows} x {site.backend.geometry.n_cols}"
            for site in sites
        )
        of = f" of {sites[0].file}" if sites[0].file is not None else ""
        raise ConfigError(
            f"{exc.message} (arrays{of}: {arrays})", path=training.path, field=exc.field
        ) from exc
    kind = {"M3c": ExchangingArray, "tiki-taka": CoupledArray}.get(method, SynapseArray)
    scales = training.network.scales
    made = []
    for k, (site, pairs) in enumerate(placed):
        at, layer = sites[site], k % len(scales)
        made.append((kind if k < len(scales) else SynapseArray)(
            at.backend, at.op, pairs, weight_scale=scales[layer], recorder=recorder, layer=k,
            minus_backend=at.minus,
        ))  # fmt: skip
    layers, fast = made[: len(scales)], made[len(scales) :]
    for slow, partner in zip(layers, fast, strict=False):
        if isinstance(slow, CoupledArray):
            slow.fast, slow.gamma = partner, training.rule.tiki_taka.gamma
    return ArrayNetwork(layers, bias=training.network.bias, fast=fast)
