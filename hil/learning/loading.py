"""Load a user's own learning rule by name, ``package.module:Class``."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from hil.errors import ConfigError
from hil.learning.rule import UpdateRule

RULE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def load_rule(name: str, options: Mapping[str, Any] | None = None) -> UpdateRule:
    """Return an instance of the rule class ``package.module:Class``, made with ``options``.

    Raises:
        ConfigError: not of that form, cannot be imported, has no such class, the class does not
            take the options, or it has no method ``slots(x, delta, rng)``.
    """
    if not RULE_NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not of the form package.module:Class", field="rule.rule")
    module_name, class_name = name.split(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as exc:  # whatever the module does
        what = f"{type(exc).__name__}: " * (not isinstance(exc, ImportError)) + str(exc)
        raise ConfigError(f"{module_name!r} cannot be imported: {what}", field="rule.rule") from exc
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        raise ConfigError(f"{module_name!r} has no class {class_name!r}", field="rule.rule")
    try:
        rule = cls(**(options or {}))
    except Exception as exc:  # whatever its constructor does
        plain = isinstance(exc, TypeError | ValueError)  # they speak of the options
        what = str(exc) if plain else f"{type(exc).__name__}: {exc}"
        raise ConfigError(f"{name} cannot be made: {what}", field="rule.options") from exc
    if not isinstance(rule, UpdateRule):
        raise ConfigError(f"{name} has no method slots(x, delta, rng)", field="rule.rule")
    return rule
