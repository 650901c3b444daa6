"""State of a training as nested plain values and arrays, and how it becomes a checkpoint.

A state is made of dicts with text keys, lists, numbers, texts, None and arrays. Arrays become
arrays of the checkpoint, the rest is JSON, in which Python's floats and integers keep every digit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hil.errors import StoreError

State: TypeAlias = dict[str, Any]

_TREE: Final = "tree"
_ARRAY: Final = "$array"


@runtime_checkable
class Resumable(Protocol):
    """Something that keeps values between samples, e.g. a learning rule of your own."""

    def state(self) -> State:
        """Return what it takes to go on from here."""

    def restore(self, state: State) -> None:
        """Go on from what :meth:`state` returned."""


def rng_state(rng: np.random.Generator) -> State:
    """Return where a generator of random numbers is."""
    return dict(rng.bit_generator.state)


def restore_rng(rng: np.random.Generator, state: State) -> None:
    """Put a generator of the same kind where :func:`rng_state` found it."""
    rng.bit_generator.state = state


def pack(state: State) -> dict[str, NDArray[Any]]:
    """Return a state as the arrays of a checkpoint."""
    arrays: dict[str, NDArray[Any]] = {}
    text = json.dumps(_plain(state, "", arrays))
    return {**arrays, _TREE: np.frombuffer(text.encode(), np.uint8)}


def unpack(arrays: Mapping[str, NDArray[Any]]) -> State:
    """Return the state of a checkpoint.

    Raises:
        StoreError: the arrays are not those of a state.
    """
    try:
        tree = _whole(json.loads(arrays[_TREE].tobytes()), arrays)
    except (KeyError, ValueError, TypeError) as exc:
        raise StoreError(f"the checkpoint holds no state to go on from: {exc}") from exc
    if not isinstance(tree, dict):
        raise StoreError("the checkpoint holds no state to go on from")
    return tree


def _plain(value: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {_ARRAY: path}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{path}/{k}".lstrip("/"), arrays) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{path}/{k}".lstrip("/"), arrays) for k, v in enumerate(value)]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"a state cannot hold {type(value).__name__} ({path})")


def _whole(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {k: _whole(v, arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [_whole(v, arrays) for v in value]
    return value
