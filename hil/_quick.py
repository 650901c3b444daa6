"""Quick constructors of frozen dataclasses, for those that are made for every block."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar

Made = TypeVar("Made")


def quickly_made(cls: type[Made]) -> type[Made]:
    """Give a frozen dataclass with slots a constructor that takes a quarter of the time.

    The one that dataclasses write calls ``object.__setattr__`` for every field. This one fills the
    slots while the instance is of a class with the same slots that is not frozen; signature and
    defaults stay the same.
    """
    made: Any = cls
    own = fields(made)
    names = [f.name for f in own]
    draft = type(f"{cls.__name__}Draft", (), {"__slots__": tuple(names)})
    # Globals of the constructor; the names are such that no field has one of them.
    scope: dict[str, Any] = {"__become": object.__setattr__, "__draft": draft, "__final": cls}
    scope |= {f"__default_{f.name}": f.default for f in own if f.default is not MISSING}
    arguments = [n if f"__default_{n}" not in scope else f"{n}=__default_{n}" for n in names]
    lines = [f"def __init__(self, {', '.join(arguments)}):"]
    lines.append("    __become(self, '__class__', __draft)")
    lines += [f"    self.{name} = {name}" for name in names]
    lines.append("    self.__class__ = __final")
    exec("\n".join(lines), scope)
    made.__init__ = scope["__init__"]
    made.__init__.__qualname__ = f"{cls.__name__}.__init__"
    return cls
