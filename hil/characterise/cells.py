"""Which devices: ``all``, single ones, spans, or a sample drawn by the seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from hil.errors import ConfigError
from hil.geometry import ArrayGeometry

Cell = tuple[int, int]

#: Most devices that are named one by one in a protocol file.
MOST: Final = 50_000
_SPAN = re.compile(r"(\d+)(?:-(\d+))?")
_FIELD: Final = "--cells"


def chosen_cells(
    geometry: ArrayGeometry, texts: Sequence[str], sample: int | None, seed: int
) -> list[Cell]:
    """Return the devices that ``texts`` name, in row-major order; dead ones only if none are named.

    Args:
        geometry: the array.
        texts: each ``all`` or ``rows,columns`` such as ``3,7`` or ``0-3,0-7`` (both ends count).
        sample: draw so many of them.
        seed: of the draw.

    Raises:
        ConfigError: no such device, a dead one, or more are asked for than there are.
    """
    if not texts or list(texts) == ["all"]:
        rows, cols = np.nonzero(~geometry.dead_mask)
        found = [(int(r), int(c)) for r, c in zip(rows, cols, strict=True)]
    else:
        found = sorted({cell for text in texts for cell in _named(geometry, text)})
    if not found:
        raise ConfigError("every device of the array is dead", field=_FIELD)
    if sample is not None:
        found = drawn(found, sample, seed, "--sample")
    if len(found) > MOST:
        raise ConfigError(
            f"{len(found)} devices; at most {MOST} are characterised at once: draw some with "
            "--sample", field=_FIELD,
        )  # fmt: skip
    return found


def drawn(cells: Sequence[Cell], count: int, seed: int, field: str) -> list[Cell]:
    """Return ``count`` of the cells, drawn by ``seed``, in their order.

    Raises:
        ConfigError: there are fewer.
    """
    if count > len(cells):
        raise ConfigError(f"{count} devices asked for, {len(cells)} are there", field=field)
    rng = np.random.default_rng([seed, 0xCE11])
    return [cells[k] for k in np.sort(rng.choice(len(cells), size=count, replace=False))]


def neighbours(cells: Sequence[Cell], geometry: ArrayGeometry, out: set[Cell]) -> list[Cell]:
    """Return the first of ``cells`` and every device that shares a line with it, but those ``out``.

    The neighbours are those of the whole array: they get reads, and half-selected pulses that they
    would get anyway.
    """
    row, col = cells[0]
    alive = ~geometry.dead_mask
    found = {(row, c) for c in range(geometry.n_cols) if alive[row, c]}
    found |= {(r, col) for r in range(geometry.n_rows) if alive[r, col]}
    return sorted(found - out | {(row, col)})


def _named(geometry: ArrayGeometry, text: str) -> Iterator[Cell]:
    parts = text.split(",")
    if len(parts) != 2:
        raise ConfigError(f"{text!r} is not rows,columns; write e.g. 3,7 or 0-3,0-7", field=_FIELD)
    spans = [_span(part.strip(), text) for part in parts]
    for (_, last), count, what in zip(spans, geometry.shape, ("row", "column"), strict=True):
        if last >= count:
            raise ConfigError(
                f"{text!r}: there is no {what} {last}; the array is {geometry.n_rows} x "
                f"{geometry.n_cols}, counted from 0", field=_FIELD,
            )  # fmt: skip
    single = all(first == last for first, last in spans)
    for row in range(spans[0][0], spans[0][1] + 1):
        for col in range(spans[1][0], spans[1][1] + 1):
            if not geometry.dead_mask[row, col]:
                yield row, col
            elif single:
                raise ConfigError(f"cell ({row}, {col}) is dead", field=_FIELD)


def _span(part: str, text: str) -> tuple[int, int]:
    match = _SPAN.fullmatch(part)
    if match is None:
        raise ConfigError(f"{text!r} is not rows,columns; write e.g. 3,7 or 0-3,0-7", field=_FIELD)
    first = int(match.group(1))
    last = first if match.group(2) is None else int(match.group(2))
    if last < first:
        raise ConfigError(f"{text!r}: {part} counts backwards", field=_FIELD)
    return first, last
