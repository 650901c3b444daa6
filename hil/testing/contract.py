"""The whole contract of a backend; see :mod:`hil.testing`."""

from __future__ import annotations

from hil.testing.lifecycle import LifecycleContract
from hil.testing.physics import PhysicsContract


class BackendContract(LifecycleContract, PhysicsContract):
    """What any backend must do, as tests. Subclass it, write ``make``; see :class:`Contract`."""
