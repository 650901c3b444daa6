"""The text of an ``rpu_config``: written as Python and JSON, read without being executed."""

from __future__ import annotations

import ast
import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hil.errors import ConfigError
from hil.interchange.aihwkit_steps import CLASSES

FORMAT: Final = "aihwkit rpu_config"
_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Written:
    """What is written: device class, its parameters, those of reads, and the comment."""

    name: str
    device: Mapping[str, Any]
    forward: Mapping[str, Any]
    comments: list[str]


@dataclass(frozen=True, slots=True)
class Read:
    """What was read, where it stands, and what of the file was not looked at."""

    name: str
    device: dict[str, Any]
    line: int | None = None
    forward: dict[str, Any] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


def as_python(written: Written) -> str:
    """Return Python text that defines ``rpu_config``."""
    lines = [
        part
        for comment in written.comments
        for part in textwrap.wrap(comment, _WIDTH, initial_indent="# ", subsequent_indent="#   ")
    ]
    imports = ["SingleRPUConfig", written.name]
    if written.forward:
        imports += ["IOParameters", "WeightNoiseType"]
        lines.append("from aihwkit.simulator.parameters import IOParameters")
        lines.append("from aihwkit.simulator.parameters.enums import WeightNoiseType")
        imports = imports[:2]
    lines += [f"from aihwkit.simulator.configs import {', '.join(sorted(imports))}", ""]
    lines += ["rpu_config = SingleRPUConfig(", f"    device={written.name}("]
    for key, value in written.device.items():
        lines += _argument(key, value)
    lines.append("    ),")
    if written.forward:
        reads = ", ".join(
            f"{key}=WeightNoiseType.{value}" if isinstance(value, str) else f"{key}={value!r}"
            for key, value in written.forward.items()
        )
        lines += [f"    {side}=IOParameters({reads})," for side in ("forward", "backward")]
    lines.append(")")
    return "\n".join(lines) + "\n"


def _argument(key: str, value: Any) -> list[str]:
    text = f"        {key}={value!r},"
    if len(text) <= _WIDTH + 4:
        return [text]
    inner = textwrap.wrap(", ".join(map(repr, value)), _WIDTH - 12)
    return [f"        {key}=[", *(f"            {line}" for line in inner), "        ],"]


def as_json(written: Written) -> str:
    """Return JSON with the same names: class names under ``class``, parameters beside them."""
    config: dict[str, Any] = {
        "class": "SingleRPUConfig", "device": {"class": written.name, **written.device},
    }  # fmt: skip
    if written.forward:
        config |= {side: {"class": "IOParameters", **written.forward}
                   for side in ("forward", "backward")}  # fmt: skip
    out = {"format": FORMAT, "comments": written.comments, "rpu_config": config}
    return json.dumps(out, indent=2, ensure_ascii=False) + "\n"


def read_config(text: str, path: str | None = None) -> Read:
    """Return the device of an ``rpu_config`` in Python text or JSON; nothing is executed.

    Raises:
        ConfigError: neither Python nor JSON, no known device class, or values that are no numbers.
    """
    if text.lstrip().startswith("{"):
        return _from_json(text, path)
    return _from_python(text, path)


def _from_json(text: str, path: str | None) -> Read:
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise ConfigError(f"is no JSON: {exc}", path=path) from exc
    config = found.get("rpu_config", found) if isinstance(found, dict) else None
    device = config.get("device") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(device, dict) or "class" not in device:
        raise ConfigError('has no "device" with a "class"', path=path, field="rpu_config")
    values = dict(device)
    name = str(values.pop("class"))
    forward = config.get("forward")
    reads = forward if isinstance(forward, dict) else {}
    ignored = [key for key in config if key not in ("class", "device", "forward", "backward")]
    ignored += [
        f"forward.{key}" for key in reads if key not in ("class", "w_noise", "w_noise_type")
    ]
    return Read(name, values, None, _weight_noise(reads, ignored), ignored)


def _from_python(text: str, path: str | None) -> Read:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as exc:
        raise ConfigError(
            f"is neither Python nor JSON: {exc}", path=path, line=getattr(exc, "lineno", None)
        ) from exc
    devices: list[tuple[str, ast.Call]] = []
    others: list[tuple[str, ast.Call]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _called(node)
            (devices if name in CLASSES else others).append((name, node))
    if len(devices) != 1:
        named = ", ".join(name for name, _ in devices) or "none"
        raise ConfigError(
            f"needs one device of a known class, found {named}; known: {', '.join(CLASSES)}",
            path=path, field="device",
        )  # fmt: skip
    name, call = devices[0]
    if call.args:
        raise ConfigError("arguments must be named", path=path, line=call.lineno, field=name)
    values: dict[str, Any] = {}
    ignored: list[str] = []
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ConfigError("`**` is not read", path=path, line=call.lineno, field=name)
        if isinstance(keyword.value, ast.Call):
            ignored.append(f"device.{keyword.arg}={ast.unparse(keyword.value)}")
            continue
        values[keyword.arg] = _literal(keyword, path)
    reads: dict[str, Any] = {}
    for other, node in others:
        for keyword in node.keywords:
            if other == "SingleRPUConfig" and keyword.arg in ("forward", "backward", "device"):
                if keyword.arg == "forward" and isinstance(keyword.value, ast.Call):
                    reads = {k.arg: k.value for k in keyword.value.keywords if k.arg}
                continue
            if other == "IOParameters" and keyword.arg in ("w_noise", "w_noise_type"):
                continue
            if node is not call and other not in ("IOParameters",):
                ignored.append(f"{other}({keyword.arg}={ast.unparse(keyword.value)})")
            elif other == "IOParameters":
                ignored.append(f"IOParameters({keyword.arg}={ast.unparse(keyword.value)})")
    forward: dict[str, Any] = {}
    if "w_noise" in reads:
        forward["w_noise"] = _number(reads["w_noise"], path)
        kind = reads.get("w_noise_type")
        forward["w_noise_type"] = kind.attr if isinstance(kind, ast.Attribute) else "NONE"
    return Read(name, values, call.lineno, _weight_noise(forward, ignored), ignored)


def _called(node: ast.Call) -> str:
    target = node.func
    if isinstance(target, ast.Attribute):
        return target.attr
    return target.id if isinstance(target, ast.Name) else ""


def _literal(keyword: ast.keyword, path: str | None) -> Any:
    try:
        return ast.literal_eval(keyword.value)
    except ValueError as exc:
        raise ConfigError(
            f"{ast.unparse(keyword.value)} is not a plain number; nothing in the file is executed",
            path=path, line=keyword.value.lineno, field=keyword.arg,
        ) from exc  # fmt: skip


def _number(node: ast.expr, path: str | None) -> float:
    try:
        value = ast.literal_eval(node)
    except ValueError as exc:
        raise ConfigError("is not a plain number", path=path, line=node.lineno) from exc
    if not isinstance(value, int | float):
        raise ConfigError("is not a number", path=path, line=node.lineno, field="w_noise")
    return float(value)


def _weight_noise(reads: Mapping[str, Any], ignored: list[str]) -> dict[str, Any]:
    if not reads.get("w_noise"):
        return {}
    kind = str(reads.get("w_noise_type", "NONE"))
    if kind not in ("ADDITIVE_CONSTANT", "AdditiveConstant"):
        if kind not in ("NONE", "None"):
            ignored.append(f"forward.w_noise of type {kind}")
        return {}
    return {"w_noise": float(reads["w_noise"])}
