"""synapse-hil: hardware-in-the-loop control for arrays of electronic synapse devices.

``hil.open_array(...)`` opens an array, ``hil.open_run(path)`` a recorded run; both load what they
need on first use, so that importing the package stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hil.control.array import SynapseArray as SynapseArray
    from hil.control.opening import open_array as open_array
    from hil.record import open_run as open_run

_LAZY = {
    "open_array": "hil.control.opening",
    "open_run": "hil.record",
    "SynapseArray": "hil.control.array",
}

__all__ = ["SynapseArray", "__version__", "open_array", "open_run"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hil' has no attribute {name!r}")
