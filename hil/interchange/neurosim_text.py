"""NeuroSim's values as text: C++ assignments, read and written without executing anything."""

from __future__ import annotations

import ast
import operator
import re
import textwrap
from collections.abc import Mapping
from typing import Any, Final

from hil.errors import ConfigError

#: Name -> meaning, of every value that is written or read.
MEANINGS: Final[dict[str, str]] = {
    "maxConductance": "Maximum cell conductance (S)",
    "minConductance": "Minimum cell conductance (S)",
    "maxNumLevelLTP": "Number of conductance states during LTP",
    "maxNumLevelLTD": "Number of conductance states during LTD",
    "nonlinearWrite": "Consider weight update nonlinearity",
    "NL_LTP": "LTP nonlinearity label",
    "NL_LTD": "LTD nonlinearity label",
    "sigmaDtoD": "Sigma of device-to-device variation, on the labels",
    "sigmaCtoC": "Sigma of cycle-to-cycle variation (S)",
    "readNoise": "Consider read noise",
    "sigmaReadNoise": "Sigma of read noise, relative",
    "conductanceRangeVar": "Consider variation of the conductance range",
    "maxConductanceVar": "Sigma of maxConductance (S)",
    "minConductanceVar": "Sigma of minConductance (S)",
    "readVoltage": "Read voltage (V)",
    "readPulseWidth": "Read pulse width (s)",
    "writeVoltageLTP": "Write voltage for LTP (V)",
    "writeVoltageLTD": "Write voltage for LTD (V)",
    "writePulseWidthLTP": "Write pulse width for LTP (s)",
    "writePulseWidthLTD": "Write pulse width for LTD (s)",
    "nonIdenticalPulse": "Pulses that are not alike",
    "cmosAccess": "Cells with a select transistor",
    "nonlinearIV": "Consider I-V nonlinearity",
    "NL": "I-V nonlinearity: I(Vw)/I(Vw/2)",
    "rawDataConductanceLTP": "Measured LTP conductances (S)",
    "rawDataConductanceLTD": "Measured LTD conductances (S)",
    "c2cVari": "Cycle-to-cycle variation, share of the range",
}
#: Arguments of DNN+NeuroSim V2.1 -> names above.
_ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "max_level": ("maxNumLevelLTP", "maxNumLevelLTD"), "nonlinearityLTP": ("NL_LTP",),
    "nonlinearityLTD": ("NL_LTD",), "d2dVari": ("sigmaDtoD",), "c2cVari": ("c2cVari",),
}  # fmt: skip
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|(?m:^\s*#[^\n]*)", re.DOTALL)
_CONSTRUCTOR = re.compile(r"\bRealDevice::RealDevice\s*\([^)]*\)\s*\{")
_ASSIGNMENT = re.compile(
    r"(?:\bargs\.|\bdouble\s+)?\b([A-Za-z_]\w*)(\s*\[\s*\])?\s*=(?!=)\s*(\{[^}]*\}|[^;\n{]*)"
)
_CONDITION = re.compile(r"\bif\s*\([^)]*\)\s*\{")
_OPERATORS: Final[Mapping[type[ast.AST], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip


def write_values(values: Mapping[str, float | bool | list[float]], comments: list[str]) -> str:
    """Return assignments as they stand in a constructor, comments first."""
    lines = [
        part
        for comment in comments
        for part in textwrap.wrap(comment, 96, initial_indent="// ", subsequent_indent="//   ")
    ]
    lines.append("")
    for name, value in values.items():
        if isinstance(value, list):
            numbers = ", ".join(f"{x:.12g}" for x in value)
            body = textwrap.fill(numbers, 96, initial_indent="    ", subsequent_indent="    ")
            lines.append(f"double {name}[] = {{  // {MEANINGS[name]}\n{body}\n}};")
            continue
        text = str(value).lower() if isinstance(value, bool) else f"{value:.12g}"
        lines.append(f"{name} = {text};  // {MEANINGS[name]}")
    return "\n".join(lines) + "\n"


def read_values(text: str, path: str | None = None) -> tuple[dict[str, Any], str]:
    """Return the values by name, and which part of the file they are from.

    What stands behind an ``if`` is not read. Numbers may be arithmetic on earlier ones
    (``0.005 * (maxConductance - minConductance)``).

    Raises:
        ConfigError: no value of a known name, or one that is no number.
    """
    where = ""
    found = _CONSTRUCTOR.search(text)
    if found is not None:
        text, where = _body(text, found.end()), "the constructor of RealDevice, without its ifs"
    # Lines stay where they are, for messages.
    plain = _COMMENT.sub(lambda m: "\n" * m.group().count("\n"), text)
    while (condition := _CONDITION.search(plain)) is not None:
        inner = _body(plain, condition.end())
        end = condition.end() + len(inner) + 1
        plain = plain[: condition.start()] + "\n" * inner.count("\n") + plain[end:]
    values: dict[str, Any] = {}
    aliases: dict[str, Any] = {}
    for match in _ASSIGNMENT.finditer(plain):
        name, right = match.group(1), match.group(3).strip()
        if name not in MEANINGS and name not in _ALIASES:
            continue
        line = None if where else plain.count("\n", 0, match.start()) + 1
        right = right.split("#", 1)[0].strip()
        value = _evaluated(right, values, name, path, line)
        if name in _ALIASES:
            for real in _ALIASES[name]:
                aliases[real] = value
        else:
            values[name] = value
    values = {**aliases, **values}
    if not values:
        raise ConfigError("has none of NeuroSim's values", path=path)
    return values, where


def _body(text: str, begin: int) -> str:
    depth = 1
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[begin:at]
    return text[begin:]


def _evaluated(
    text: str, known: Mapping[str, Any], name: str, path: str | None, line: int | None
) -> Any:
    if text in ("true", "false", "True", "False"):
        return text.lower() == "true"
    try:
        if text.startswith("{"):
            return [float(part) for part in text.strip("{}").split(",") if part.strip()]
        return _arithmetic(ast.parse(text.replace("\t", " ").strip(), mode="eval").body, known)
    except (ValueError, SyntaxError, KeyError, ZeroDivisionError, OverflowError) as exc:
        raise ConfigError(f"{text!r} is not a number", path=path, line=line, field=name) from exc


def _arithmetic(node: ast.expr, known: Mapping[str, Any]) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name):
        return float(known[node.id])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _arithmetic(node.operand, known)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _arithmetic(node.left, known), _arithmetic(node.right, known)
        return float(_OPERATORS[type(node.op)](left, right))
    raise ValueError(f"{ast.dump(node)} is no arithmetic")
