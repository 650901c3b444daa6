"""The training file: data set, network, rule, refresh, schedule and placement of one training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from hil.config.quantities import Count, Index, Table
from hil.config.toml_file import read_text, validate_text
from hil.pairs import PairKind

Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
#: A share strictly between 0 and 1.
Part = Annotated[float, Field(gt=0.0, lt=1.0)]
Neurons = Annotated[int, Field(strict=True, ge=1, le=4096)]


class DatasetTable(Table):
    """Which samples are learnt.

    ``digits`` is shipped; ``mnist`` needs ``folder`` with the four IDX files (``.gz`` or not);
    ``npz`` needs ``file`` with x_train, y_train and perhaps x_test, y_test. Paths are relative to
    the training file.
    """

    kind: Literal["digits", "mnist", "npz"] = "digits"
    folder: str | None = None
    file: str | None = None
    classes: Annotated[int, Field(strict=True, ge=2, le=2048)] | None = None
    test_share: Part = 0.2  #: of every class, where the data set has no test part of its own
    split_seed: Index = 0
    train_limit: Count | None = None  #: only the first samples of the training part
    test_limit: Count | None = None

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> DatasetTable:
        needs = {"digits": None, "mnist": "folder", "npz": "file"}[self.kind]
        for name in ("folder", "file"):
            given = getattr(self, name) is not None
            if given and name != needs:
                raise ValueError(f"dataset.{name}: a data set of kind {self.kind!r} has none")
            if not given and name == needs:
                raise ValueError(f"dataset.kind: {self.kind!r} needs `{name}`")
        if self.classes is not None and self.kind != "npz":
            raise ValueError("dataset.classes: only a data set of kind 'npz' has it")
        return self


class NetworkTable(Table):
    """Layers between inputs and classes.

    ``weight_scales`` is the weight of a pair at opposite ends of the conductance window, one per
    layer; default 4 and, in the last layer, 8. ``init_spread`` is the largest initial weight as a
    share of the window.
    """

    hidden: Annotated[tuple[Neurons, ...], Field(max_length=16)] = (32,)
    weight_scales: tuple[Positive, ...] | None = None
    bias: bool = True
    init_spread: Annotated[float, Field(ge=0.0, le=0.5)] = 0.2

    @model_validator(mode="after")
    def _one_scale_per_layer(self) -> NetworkTable:
        n = len(self.hidden) + 1
        if self.weight_scales is not None and len(self.weight_scales) != n:
            raise ValueError(
                f"network.weight_scales: {len(self.weight_scales)} values for {n} layers"
            )
        return self

    @property
    def scales(self) -> tuple[float, ...]:
        """Weight scale of every layer."""
        if self.weight_scales is not None:
            return self.weight_scales
        return (4.0,) * len(self.hidden) + (8.0,)


class RuleTable(Table):
    """The learning rule: a method and a trigger, or a user's own class.

    T1 needs ``theta``, T2 ``theta_x`` and ``theta_delta``. T3 uses ``slots`` pulse slots, and more,
    up to ``max_slots``, where a probability would exceed 1. ``mean_step`` is the mean change by one
    pulse as a share of the conductance window; without it, it is measured before training.
    ``rule`` names a class ``package.module:Class`` in place of the trigger, made with ``options``;
    ``method`` then still says where pairs start and how they are refreshed.
    """

    method: Literal["M1", "M2", "M3", "M3'"] = "M3"
    trigger: Literal["T1", "T2", "T3"] = "T3"
    dead_zone: NotNegative = 0.05
    slots: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1
    max_slots: Annotated[int, Field(strict=True, ge=1, le=1024)] | None = None
    theta: NotNegative | None = None
    theta_x: NotNegative | None = None
    theta_delta: NotNegative | None = None
    mean_step: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    rule: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_what_its_trigger_needs(self) -> RuleTable:
        if self.options and self.rule is None:
            raise ValueError("rule.options: only a rule of your own (`rule`) has options")
        needs = {"T1": ("theta",), "T2": ("theta_x", "theta_delta"), "T3": ()}[self.trigger]
        for name in ("theta", "theta_x", "theta_delta"):
            given = getattr(self, name) is not None
            if given and name not in needs:
                raise ValueError(f"rule.{name}: trigger {self.trigger} has no such threshold")
            if not given and name in needs and self.rule is None:
                raise ValueError(f"rule.trigger: {self.trigger} needs `{name}`")
        if self.max_slots is not None and self.max_slots < self.slots:
            raise ValueError(f"rule.max_slots: {self.max_slots} is below slots = {self.slots}")
        return self


class RefreshTable(Table):
    """Keeps unidirectional pairs inside their range (methods M3 and M3').

    Every ``every`` samples the pairs are read; where the further device is beyond ``threshold`` of
    the window and the nearer one beyond ``floor`` (there is something to regain), both are reset
    and the difference is programmed again: ``open-loop`` with counts from the measured response
    (``passes`` above 1 read and top up), or ``write-verify`` device by device.
    """

    every: Count = 100
    threshold: Part = 0.5
    floor: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    mode: Literal["open-loop", "write-verify"] = "open-loop"
    passes: Annotated[int, Field(strict=True, ge=1, le=10)] = 1
    reset_margin: Annotated[float, Field(ge=1.0, le=10.0)] = 1.5

    @model_validator(mode="after")
    def _floor_below_threshold(self) -> RefreshTable:
        if self.floor >= self.threshold:
            raise ValueError(
                f"refresh.floor: {self.floor:g} is not below threshold = {self.threshold:g}"
            )
        return self


class ScheduleTable(Table):
    """Epochs and learning rate: η = eta · decay^epoch."""

    epochs: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 20
    eta: Positive = 0.143
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.85
    samples: Count | None = None  #: at most so many training samples per epoch


class CharacteriseTable(Table):
    """The measurement before training that gives the response curve: LTP and LTD of a few devices.

    ``pulses`` per branch should cross the range; ``reads`` are averaged after every pulse.
    """

    devices: Annotated[int, Field(strict=True, ge=1, le=256)] = 8
    pulses: Annotated[int, Field(strict=True, ge=8, le=100_000)] = 256
    cycles: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    reads: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1


class EvaluationTable(Table):
    """How the test part is classified: every so many epochs (and after the last), in batches."""

    every: Count = 1
    batch: Annotated[int, Field(strict=True, ge=1, le=65_536)] = 128


class PlacementTable(Table):
    """Where layers sit: each on an array of its own, tiles of one array, or what fits (``auto``).

    ``pairs`` overrides the station's pair map.
    """

    layers: Literal["auto", "arrays", "tiles"] = "auto"
    pairs: PairKind | None = None


class Training(Table):
    """A training file."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: Annotated[str, Field(min_length=1, max_length=64)] = "training"
    seed: Index = 0
    dataset: DatasetTable = DatasetTable()
    network: NetworkTable = NetworkTable()
    rule: RuleTable = RuleTable()
    refresh: RefreshTable | None = None
    schedule: ScheduleTable = ScheduleTable()
    characterise: CharacteriseTable = CharacteriseTable()
    evaluation: EvaluationTable = EvaluationTable()
    placement: PlacementTable = PlacementTable()
    baseline: bool = True  #: train the same network in floating point beside it
    path: Annotated[Path | None, Field(exclude=True)] = None

    @model_validator(mode="before")
    @classmethod
    def _path_is_not_a_field(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("path"), str):
            raise ValueError("`path` is not a field of a training file")
        return values

    @model_validator(mode="after")
    def _refresh_suits_method(self) -> Training:
        if self.refresh is not None and self.rule.method in ("M1", "M2"):
            raise ValueError(
                f"refresh.every: method {self.rule.method} moves devices both ways and has no "
                "refresh; leave the table out"
            )
        return self

    @property
    def effective_refresh(self) -> RefreshTable | None:
        """The refresh in use: the table, its defaults for M3 and M3' without one, else None."""
        if self.rule.method in ("M1", "M2"):
            return None
        return RefreshTable() if self.refresh is None else self.refresh

    def beside(self, name: str) -> Path:
        """Return a path relative to the training file's folder."""
        return Path(name) if self.path is None else self.path.parent / name


def load_training(path: str | Path) -> Training:
    """Load a training file.

    Raises:
        ConfigError: with file, line and field.
    """
    path = Path(path)
    training = validate_text(read_text(path), Training, path)
    return training.model_copy(update={"path": path})


#: A commented training file to start from.
STARTER: Final = """\
# What is learnt, by which rule, on which part of the array. Check it with `hil check`.
schema = 1
name = "digits"
seed = 1
baseline = true          # also train the same network in floating point

[dataset]
kind = "digits"          # shipped; or "mnist" with folder = "...", or "npz" with file = "..."
split_seed = 0

[network]
hidden = [32]
weight_scales = [4.0, 8.0]   # weight of a pair at opposite ends of its window, per layer
init_spread = 0.2            # largest initial weight, as a share of the window
bias = true

[rule]
method = "M3"            # M1 both directions, M2 fixed reference, M3 potentiation, M3' depression
trigger = "T3"           # T1 product threshold, T2 two thresholds, T3 stochastic coincidence
dead_zone = 0.05         # smaller errors give no pulse
slots = 1                # pulse slots per sample
# max_slots = 16         # use more slots where a probability would exceed 1
# rule = "my_package.rules:MyRule"   # your own class with slots(x, delta, rng)

[refresh]                # only for M3 and M3'
every = 100              # samples
threshold = 0.5          # share of the window that the further device has used ...
floor = 0.2              # ... and the nearer one, for a refresh to pay
mode = "open-loop"       # or "write-verify"

[schedule]
epochs = 20
eta = 0.143
decay = 0.85             # eta * decay^epoch

[characterise]
devices = 8
pulses = 256
"""
