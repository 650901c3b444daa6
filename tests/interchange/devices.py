"""Devices of every model, and what a pulse does to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hil_sim.models.device import Device, load_device

MODELS: dict[str, dict[str, Any]] = {
    "linear": {"model": "linear", "potentiation": {"states": 64}, "depression": {"states": 100}},
    "exponential": {
        "model": "exponential",
        "potentiation": {"states": 97, "nu": 2.0},
        "depression": {"states": 63.5, "nu": 4.9},
    },
    "growing": {
        "model": "exponential",
        "potentiation": {"states": 40, "nu": -1.5},
        "depression": {"states": 50, "nu": 0.3},
    },
    "soft-bounds": {
        "model": "soft-bounds",
        "potentiation": {"states": 80, "slope": 1.0},
        "depression": {"states": 60, "slope": 1.0},
    },
    "sloped": {
        "model": "soft-bounds",
        "potentiation": {"states": 80, "slope": 0.4},
        "depression": {"states": 60, "slope": 0.7},
    },
    "querlioz": {
        "model": "querlioz",
        "potentiation": {"states": 64, "beta": 3.0},
        "depression": {"states": 50, "beta": 2.0},
    },
    "lookup": {
        "model": "lookup",
        "potentiation": {
            "g": ["1 uS", "20 uS", "70 uS", "100 uS"],
            "delta_g": ["2 uS", "3 uS", "1 uS", "0 S"],
            "spread": ["100 nS", "200 nS", "300 nS", "50 nS"],
        },
        "depression": {
            "g": ["1 uS", "40 uS", "100 uS"],
            "delta_g": ["100 nS", "2 uS", "4 uS"],
            "spread": ["100 nS", "100 nS", "300 nS"],
        },
    },
}

U = np.linspace(0.0, 1.0, 21)


def device(model: str = "exponential", **variation: Any) -> Device:
    """Return the ideal preset with another response and variation."""
    values = load_device("ideal").model_dump(mode="json", by_alias=True, exclude_none=True)
    return Device.model_validate({**values, **MODELS[model], "variation": variation})
