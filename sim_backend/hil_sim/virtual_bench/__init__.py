"""The virtual bench: emulated instruments that share one simulated array and one clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench, open_bench

__all__ = ["Bench", "open_bench"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from hil_sim.virtual_bench import bench

        return getattr(bench, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
