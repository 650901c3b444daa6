"""synapse-hil: hardware-in-the-loop control for arrays of electronic synapse devices."""

from __future__ import annotations

__version__ = "0.1.0"
