"""The training file: data set, network, rule, refresh, schedule and placement of one training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, model_validator

from hil.config.quantities import Count, FileTable, Index, Second, Table
from hil.config.rule import Positive, RuleTable
from hil.config.toml_file import load_file
from hil.pairs import PairKind

#: A share strictly between 0 and 1.
Part = Annotated[float, Field(gt=0.0, lt=1.0)]
Neurons = Annotated[int, Field(strict=True, ge=1, le=4096)]
#: Samples between two exchanges of a column pair (M3c), and passes of write-verify, by default.
EXCHANGE_EVERY: Final = 40
VERIFY_PASSES: Final = 6


class DatasetTable(Table):
    """Which samples are learnt.

    ``digits`` is shipped; ``mnist`` needs ``folder`` with the four IDX files (``.gz`` or not);
    ``npz`` needs ``file`` with x_train, y_train and perhaps x_test, y_test. Paths are relative to
    the training file.

    With ``validation_share`` that share of every class of the training part is held back and takes
    the test part's place: settings are chosen on it, and the test part is not looked at.
    """

    kind: Literal["digits", "mnist", "npz"] = "digits"
    folder: str | None = None
    file: str | None = None
    classes: Annotated[int, Field(strict=True, ge=2, le=2048)] | None = None
    test_share: Part = 0.2  #: of every class, where the data set has no test part of its own
    split_seed: Index = 0
    validation_share: Part | None = None
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


class RefreshTable(Table):
    """Keeps unidirectional pairs inside their range (methods M3, M3' and M3c).

    Every ``every`` samples the pairs are read; where the further device is beyond ``threshold`` of
    the window and the nearer one beyond ``floor`` (there is something to regain), both are reset
    and the difference is programmed again: ``open-loop`` with counts from the measured response,
    or ``write-verify``, which reads and corrects at most ``passes`` times. Both devices come to lie
    ``base`` above the end of the window that the reset takes them to. M3c also exchanges the
    two devices of a pair, column after column: one column every ``exchange_every`` samples.
    """

    every: Count = 100
    threshold: Part = 0.5
    floor: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    base: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    mode: Literal["open-loop", "write-verify"] | None = None  #: None = write-verify with M3c only
    passes: Annotated[int, Field(strict=True, ge=1, le=20)] | None = None
    reset_margin: Annotated[float, Field(ge=1.0, le=10.0)] = 1.5
    exchange_every: Count | None = None

    @model_validator(mode="after")
    def _fields_fit_together(self) -> RefreshTable:
        if self.floor >= self.threshold:
            raise ValueError(
                f"refresh.floor: {self.floor:g} is not below threshold = {self.threshold:g}"
            )
        if self.base and self.base >= self.floor:
            raise ValueError(
                f"refresh.base: {self.base:g} is not below floor = {self.floor:g}; pairs would be "
                "due again at once"
            )
        if self.passes is not None and self.mode == "open-loop":
            raise ValueError("refresh.passes: open-loop programming does not read and correct")
        return self


class ScheduleTable(Table):
    """Epochs and learning rate.

    ``exponential``: η = eta · decay^epoch. ``linear`` and ``cosine``: from eta in the first epoch
    to eta · final in the last.
    """

    epochs: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 20
    eta: Positive = 0.143
    kind: Literal["exponential", "linear", "cosine"] = "exponential"
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.85
    final: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    samples: Count | None = None  #: at most so many training samples per epoch

    @model_validator(mode="after")
    def _fields_of_its_kind(self) -> ScheduleTable:
        other = "final" if self.kind == "exponential" else "decay"
        if other in self.model_fields_set:
            raise ValueError(f"schedule.{other}: a schedule of kind {self.kind!r} has none")
        return self


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


class CheckpointTable(Table):
    """How often the state is kept that `hil resume` goes on from.

    Every ``every`` samples and after every epoch; without it, whenever ``interval`` has passed.
    """

    every: Count | None = None
    interval: Annotated[Second, Field(gt=0.0)] = 20.0


class PlacementTable(Table):
    """Where layers sit: each on an array of its own, tiles of one array, or what fits (``auto``).

    ``pairs`` overrides the station's pair map.
    """

    layers: Literal["auto", "arrays", "tiles"] = "auto"
    pairs: PairKind | None = None


class Training(FileTable):
    """A training file."""

    KIND: ClassVar[str] = "training"

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
    checkpoint: CheckpointTable = CheckpointTable()
    baseline: bool = True  #: train the same network in floating point beside it

    @model_validator(mode="after")
    def _refresh_suits_method(self) -> Training:
        refresh, method = self.refresh, self.rule.method
        if refresh is not None and not self.rule.refreshes:
            raise ValueError(
                f"refresh.every: method {method} moves devices both ways and has no refresh; "
                "leave the table out"
            )
        if refresh is not None and method != "M3c" and refresh.exchange_every is not None:
            raise ValueError(f"refresh.exchange_every: method {method} exchanges no devices")
        return self

    @property
    def effective_refresh(self) -> RefreshTable | None:
        """The refresh in use with all of its defaults, None for methods without."""
        if not self.rule.refreshes:
            return None
        table = RefreshTable() if self.refresh is None else self.refresh
        chopped = self.rule.method == "M3c"
        mode = table.mode or ("write-verify" if chopped else "open-loop")
        return table.model_copy(update={
            "mode": mode,
            "passes": (table.passes or VERIFY_PASSES) if mode == "write-verify" else None,
            "exchange_every": (table.exchange_every or EXCHANGE_EVERY) if chopped else None,
        })  # fmt: skip

    def beside(self, name: str) -> Path:
        """Return a path relative to the training file's folder."""
        return Path(name) if self.path is None else self.path.parent / name


def load_training(path: str | Path) -> Training:
    """Load a training file.

    Raises:
        ConfigError: with file, line and field.
    """
    return load_file(path, Training)


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
method = "M3"            # M1 both directions, M2 fixed reference, M3 potentiation, M3' depression,
                         # M3c M3 whose devices take turns; "manhattan", "tiki-taka", "float", ...
trigger = "T3"           # T1 product threshold, T2 two thresholds, T3 stochastic coincidence
dead_zone = 0.05         # smaller errors give no pulse
slots = 1                # pulse slots per sample
# max_slots = 16         # use more slots where a probability would exceed 1
# balanced = true        # fewer probabilities above 1: rows and columns share them equally
# rate = "column"        # measure what a pulse does in every column, not once per array
# rule = "my_package.rules:MyRule"   # your own class with slots(x, delta, rng)

[refresh]                # only for M3, M3' and M3c
every = 100              # samples
threshold = 0.5          # share of the window that the further device has used ...
floor = 0.2              # ... and the nearer one, for a refresh to pay
# base = 0.1             # below floor: both devices start this far up, where steps may be finer
mode = "open-loop"       # or "write-verify", which reads and corrects
# exchange_every = 40    # M3c: samples between two exchanges of a column pair

[schedule]
epochs = 20
eta = 0.143
decay = 0.85             # eta * decay^epoch; or kind = "linear" / "cosine" with final = 0.1

[characterise]
devices = 8
pulses = 256

[checkpoint]             # what `hil resume` goes on from
interval = "20 s"        # or every = 500 samples, and after every epoch
"""
