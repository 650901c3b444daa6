"""Load an exported ``rpu_config`` in aihwkit itself, where it is installed."""

from __future__ import annotations

import aihwkit
from aihwkit.exceptions import AihwkitException
from aihwkit.simulator import configs, parameters
from aihwkit.simulator.parameters.enums import WeightNoiseType

from hil.errors import ConfigError
from hil.interchange.aihwkit_text import read_config


def load(text: str) -> str:
    """Return aihwkit's name and version; its simulator has taken the configuration.

    Raises:
        ConfigError: it refuses a name or a value.
    """
    config = read_config(text)
    try:
        device = getattr(configs, config.name)(**config.device)
        reads = {}
        if config.forward:
            values = {**config.forward, "w_noise_type": WeightNoiseType.ADDITIVE_CONSTANT}
            reads = {side: parameters.IOParameters(**values) for side in ("forward", "backward")}
        configs.SingleRPUConfig(device=device, **reads).as_bindings()
    except (AihwkitException, AttributeError, TypeError, ValueError) as exc:
        raise ConfigError(f"aihwkit {aihwkit.__version__} refuses it: {exc}") from exc
    return f"aihwkit {aihwkit.__version__}"
