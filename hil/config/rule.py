"""The rule table of a training file: which method learns, and its settings."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from pydantic import Field, model_validator

from hil.config.quantities import Count, Table

Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Slots = Annotated[int, Field(strict=True, ge=1, le=1024)]

#: How the two devices of a pair are moved; see :mod:`hil.learning.methods`.
PairMethod = Literal["M1", "M2", "M3", "M3'"]
#: Everything that ``rule.method`` may be; see :mod:`hil.control.learners`.
LearningMethod = Literal[
    "M1", "M2", "M3", "M3'", "M3c", "progressive", "tiki-taka", "manhattan", "threshold",
    "direct-gradient", "weight-transfer", "float",
]  # fmt: skip
#: Methods whose pulses are chosen by a trigger.
TRIGGERED: Final = frozenset({*get_args(PairMethod), "M3c", "progressive", "tiki-taka"})
#: Methods that a user's own rule can take part in.
OWN_RULE: Final = TRIGGERED - {"tiki-taka"}
_TRIGGER_FIELDS: Final = ("trigger", "slots", "max_slots", "theta", "theta_x", "theta_delta",
                          "mean_step", "rate", "balanced")  # fmt: skip


class ProgressiveTable(Table):
    """Progressive back-propagation: ``pairs`` says how the devices of a pair are moved."""

    pairs: PairMethod = "M1"


class TikiTakaTable(Table):
    """Tiki-Taka: every ``transfer_every`` samples one row of the fast array A is added to C.

    ``transfer_rate`` is λ of C ← C + λ·A, and ``gamma`` is γ of the weight W = γA + C.
    ``symmetry_pulses`` pulses of alternating polarity take A to its symmetry point before training.
    """

    transfer_every: Count = 2
    transfer_rate: Positive = 0.1
    gamma: NotNegative = 0.0
    symmetry_pulses: Annotated[int, Field(strict=True, ge=0, le=100_000)] = 1000


class ManhattanTable(Table):
    """Manhattan rule: the sign of the gradient summed over ``batch`` samples; 1 = stochastic."""

    batch: Count = 32


class ThresholdTable(Table):
    """Threshold learning of ternary weights: one level where |Σ x·δ| is beyond ``threshold``.

    ``margin`` multiplies the measured pulses that switch a device.
    """

    threshold: Positive = 32.0
    margin: Annotated[float, Field(ge=1.0, le=10.0)] = 1.5


class DirectGradientTable(Table):
    """Direct gradient calculation: every weight is perturbed, one by one, for a batch of samples.

    ``pulses`` perturb a weight. ``max_weights`` refuses networks that would take for ever: an
    update costs as many forward batches as there are weights.
    """

    batch: Count = 16
    pulses: Annotated[int, Field(strict=True, ge=1, le=1000)] = 4
    max_weights: Count = 1000


class WeightTransferTable(Table):
    """Weight transfer: trained in floating point, then written.

    ``write-verify`` reads and corrects every device until it is within ``tolerance``, a share of
    the conductance window, or has had ``max_pulses``; ``open-loop`` gives every device the pulses
    that the mean of the measured ones needs.
    """

    mode: Literal["write-verify", "open-loop"] = "write-verify"
    tolerance: Annotated[float, Field(gt=0.0, le=0.5)] | None = None  #: None = 0.01
    max_pulses: Count | None = None  #: None = 2000

    @model_validator(mode="after")
    def _open_loop_does_not_read(self) -> WeightTransferTable:
        for name in ("tolerance", "max_pulses"):
            if self.mode == "open-loop" and getattr(self, name) is not None:
                raise ValueError(
                    f"rule.weight_transfer.{name}: open-loop writing does not read and correct"
                )
        return self


class RuleTable(Table):
    """The learning rule: a method and a trigger, a user's own class, or a method of the literature.

    T1 needs ``theta``, T2 ``theta_x`` and ``theta_delta``. T3 uses ``slots`` pulse slots, and more,
    up to ``max_slots``, where a probability would exceed 1. ``mean_step`` is the mean change by one
    pulse as a share of the conductance window; without it, it is measured before training, once
    per array, and with ``rate = "column"`` relative to it in every column. ``balanced`` gives row
    and column bits the same largest probability in every sample, so that fewer are cut.
    ``rule`` names a class ``package.module:Class`` in place of the trigger, made with ``options``;
    ``method`` then still says where pairs start and how they are refreshed.
    Settings of a method of the literature are in the table of its name, e.g. ``[rule.manhattan]``.
    """

    method: LearningMethod = "M3"
    trigger: Literal["T1", "T2", "T3"] = "T3"
    dead_zone: NotNegative = 0.05
    slots: Slots = 1
    max_slots: Slots | None = None
    theta: NotNegative | None = None
    theta_x: NotNegative | None = None
    theta_delta: NotNegative | None = None
    mean_step: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    rate: Literal["array", "column"] = "array"
    balanced: bool = False
    rule: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    progressive: ProgressiveTable = ProgressiveTable()
    tiki_taka: TikiTakaTable = TikiTakaTable()
    manhattan: ManhattanTable = ManhattanTable()
    threshold: ThresholdTable = ThresholdTable()
    direct_gradient: DirectGradientTable = DirectGradientTable()
    weight_transfer: WeightTransferTable = WeightTransferTable()

    @model_validator(mode="after")
    def _has_what_its_method_uses(self) -> RuleTable:
        given = self.model_fields_set
        for name in ("progressive", "tiki_taka", "manhattan", "threshold", "direct_gradient",
                     "weight_transfer"):  # fmt: skip
            if name in given and self.method != name.replace("_", "-"):
                raise ValueError(f"rule.{name}: method {self.method!r} does not use this table")
        if self.method not in TRIGGERED:
            for name in (*_TRIGGER_FIELDS, "dead_zone"):
                if name in given:
                    raise ValueError(f"rule.{name}: method {self.method!r} has no trigger")
        if self.rule is not None:
            if self.method not in OWN_RULE:
                raise ValueError(f"rule.rule: method {self.method!r} takes no rule of your own")
            for name in (*_TRIGGER_FIELDS, "dead_zone"):
                if name in given:
                    raise ValueError(f"rule.{name}: a rule of your own replaces the trigger")
        if self.rate == "column" and self.mean_step is not None:
            raise ValueError("rule.rate: a rate per column is measured; leave mean_step out")
        return self

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
        if self.rate == "column" and self.trigger != "T3":
            raise ValueError(f"rule.rate: trigger {self.trigger} has no learning rate")
        if self.balanced and self.trigger != "T3":
            raise ValueError(f"rule.balanced: trigger {self.trigger} draws no bits")
        if self.max_slots is not None and self.max_slots < self.slots:
            raise ValueError(f"rule.max_slots: {self.max_slots} is below slots = {self.slots}")
        return self

    @property
    def pairs(self) -> PairMethod:
        """How the devices of a pair start and are moved by this method."""
        if self.method == "progressive":
            return self.progressive.pairs
        pairs: dict[str, PairMethod] = {
            "M1": "M1", "M2": "M2", "M3": "M3", "M3'": "M3'", "M3c": "M3", "tiki-taka": "M2",
            "manhattan": "M1", "threshold": "M3", "direct-gradient": "M1", "weight-transfer": "M3",
            "float": "M3",
        }  # fmt: skip
        return pairs[self.method]

    @property
    def refreshes(self) -> bool:
        """Whether pairs move one way only and have to be refreshed."""
        return self.method in TRIGGERED and self.pairs in ("M3", "M3'")
