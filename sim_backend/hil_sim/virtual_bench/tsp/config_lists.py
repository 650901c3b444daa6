"""Configuration lists of a 2450: settings kept by name and index, and recalled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil_sim.virtual_bench.tsp.front_settings import ILLEGAL, OUT_OF_RANGE, FunctionSettings

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.runtime import TspPersonality


class ConfigLists:
    """The lists of one kind: ``smu.source.configlist`` or ``smu.measure.configlist``.

    Attributes:
        lists: snapshots by name; at: index recalled last, by name (0 = none yet).
    """

    def __init__(self, owner: TspPersonality, settings: FunctionSettings) -> None:
        self.owner, self.settings = owner, settings
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.at: dict[str, int] = {}
        self._named = 0

    def reset(self) -> None:
        """Forget every list."""
        self.lists.clear()
        self.at.clear()

    def make(self, name: str, snapshots: list[dict[str, Any]]) -> None:
        """Make or replace a list."""
        self.lists[name], self.at[name] = snapshots, 0

    def recall(self, name: str, index: int) -> None:
        """Recall an index, from 1."""
        found = self.lists.get(name)
        if found is None or not 1 <= index <= len(found):
            self.owner.post_error(ILLEGAL, f"Configuration list {name} has no index {index}")
            return
        self.at[name] = index
        self.settings.recall(found[index - 1])
        self.settings.changed("")

    def step(self, name: str, by: int) -> None:
        """Recall the next or previous index; after the last comes the first."""
        found = self.lists.get(name)
        if not found:
            self.owner.post_error(ILLEGAL, f"Configuration list {name} is empty")
            return
        before = self.at.get(name, 0)
        if by < 0 and before == 0:
            before = 1
        self.recall(name, (before - 1 + by) % len(found) + 1)

    # Functions of the Lua table.

    def _create(self, name: str) -> None:
        if name in self.lists:
            self.owner.post_error(ILLEGAL, f"Configuration list {name} exists")
            return
        self.make(name, [])

    def _store(self, name: str, index: float | None = None) -> None:
        found = self.lists.get(name)
        if found is None:
            self.owner.post_error(ILLEGAL, f"Configuration list {name} does not exist")
        elif index is None or int(index) == len(found) + 1:
            found.append(self.settings.snapshot())
        elif 1 <= int(index) <= len(found):
            found[int(index) - 1] = self.settings.snapshot()
        else:
            self.owner.post_error(OUT_OF_RANGE, f"Index {index:g} of {name} is out of range")

    def _delete(self, name: str, index: float | None = None) -> None:
        found = self.lists.get(name, [])
        if index is None:
            self.lists.pop(name, None)
        elif 1 <= int(index) <= len(found):
            del found[int(index) - 1]

    def _catalog(self) -> str | None:
        """Return one name at each call and nil after the last; then it begins again."""
        names = list(self.lists)
        if self._named >= len(names):
            self._named = 0
            return None
        self._named += 1
        return names[self._named - 1]

    def _query(self, name: str, index: float = 1, separator: str = ", ") -> str:
        found = self.lists[name][int(index) - 1]
        return separator.join(f"{key} = {value}" for key, value in found.items())

    def table(self, other: ConfigLists | None = None) -> Any:
        """Return ``configlist``; ``other`` is the kind that a recall may name besides."""

        def recall(name: str, index: float = 1, second: str | None = None,
                   second_index: float = 1) -> None:  # fmt: skip
            self.recall(name, int(index or 1))
            if second is not None and other is not None:
                other.recall(second, int(second_index or 1))

        objects: dict[str | int, Any] = {
            "create": self._create, "store": self._store, "delete": self._delete,
            "recall": recall, "size": lambda name: len(self.lists.get(name, [])),
            "catalog": lambda *_: self._catalog(), "query": self._query,
        }  # fmt: skip
        return self.owner.object(objects=objects)
