"""Settings of the method. Each says whether the paper states it, we recall it, or it is ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from ..settings import Settings

Axis = Literal["channel", "time"]
GateInput = Literal["mean", "frames", "motion"]


NUM_CALIBRATION_CLIPS = 128
"""Training clips, at most, that gates are calibrated on."""

LayerNames = Literal["all"] | tuple[str, ...]
"""All layers, or those that a name of the list means: see `means`."""


class AxisLayers(Settings):
    """Which layers get a gate, axis by axis; an axis that is left out: all."""

    channel: LayerNames = "all"
    time: LayerNames = "all"

    @property
    def names(self) -> tuple[str, ...]:
        """All names there are, each once."""
        lists = [names for names in (self.channel, self.time) if names != "all"]
        return tuple(dict.fromkeys(name for names in lists for name in names))


_FORMS = "all, auto, a list of parts of layers' names, or a mapping of channel and time to such"


def _known_form(value: object) -> object:
    # a union's own errors would name all of its sides
    if isinstance(value, Mapping):
        return _by_axis(value)
    if value in ("all", "auto") or isinstance(value, AxisLayers) or _is_list(value):
        return value
    raise ValueError(f"must be {_FORMS}, but got {value!r}.{_near(value, ['all', 'auto'])}")


def _by_axis(value: Mapping[Any, Any]) -> AxisLayers:
    for axis, names in value.items():
        if axis not in get_args(Axis):
            raise ValueError(f"must be {_FORMS}, but got {axis!r}.{_near(axis, get_args(Axis))}")
        if names != "all" and not _is_list(names):
            raise ValueError(f"`{axis}` must be all or a list of names, but got {names!r}")
    return AxisLayers(**value)


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _near(value: object, choices: Sequence[str]) -> str:
    near = get_close_matches(str(value), choices, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


GateLayers = Annotated[
    Literal["all", "auto"] | tuple[str, ...] | AxisLayers, BeforeValidator(_known_form)
]


NO_TIMES = (
    "`{}` needs the times of the recognizer's layers on this machine, which a sweep measures; here "
    "there are none"
)


SEEN_SIDE = 14
"""Rows and columns of a larger map, at least, that a gate pools."""


def _known_stride(value: object) -> object:
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError(
        f"must be auto or a whole number from 1, but got {value!r}.{_near(value, ['auto'])}"
    )


GateStride = Annotated[
    Literal["auto"] | Annotated[int, Field(ge=1)], BeforeValidator(_known_stride)
]


class VaRedSettings(Settings):
    """What can be chosen about VA-RED2 before training."""

    added = frozenset({"gate_stride", "gate_layers", "gate_sees"})

    axes: tuple[Axis, ...] = Field(
        ("channel", "time"), description="what a gate may reduce (stated: each alone, and both)"
    )
    search_space: Literal[2, 3] = Field(
        2, description="2: reduce by 1 or 2; 3: by 1, 2 or 4 (recalled)"
    )
    cheap: Literal["copy", "scale", "depthwise"] = Field(
        "copy", description="the cheap operation that rebuilds what was not computed (ours)"
    )
    placement: Literal["after", "before"] = Field(
        "after", description="rebuild after normalisation and activation, or before them (ours)"
    )
    keep: Literal["mirrored", "first"] = Field(
        "mirrored",
        description="the frame of a group that is computed: its first (recalled), or mirrored about"
        " the clip's middle where a convolution does not mix time, so that a recognizer that is"
        " blind to order stays blind (ours)",
    )
    normalise: bool = Field(
        False, description="divide gate weights by their sum: one live branch weighs one (ours)"
    )
    weights: Literal["soft", "hard"] = Field(
        "soft",
        description="blend all live branches (recalled), or, once gates rest and at inference, take"
        " the largest live one alone (ours)",
    )
    gate_width: int = Field(16, ge=1, description="hidden units of a gate (ours)")
    gate_norm: Literal["layer", "batch", "running", "none"] = Field(
        "layer",
        description="normalisation inside a gate (recalled: batch; the default is ours); running:"
        " of what it sees, by the clips seen in training so far (ours)",
    )
    gate_input: GateInput = Field(
        "mean",
        description="pool over space and time, or keep time (recalled: frames); motion: beside the"
        " mean, how much each channel changes from frame to frame (ours)",
    )
    gate_sees: Literal["own", "block"] = Field(
        "own",
        description="what a gate pools: its convolution's own input (recalled), or that of the"
        " residual block that it is in, once for all gates of the block (ours)",
    )
    gate_stride: GateStride = Field(
        "auto",
        description="a gate pools every so many-th row and column of its input; auto: of feature"
        f" maps so many that {SEEN_SIDE} of each or more are left (ours)",
    )
    activation: Literal["leak", "exact"] = Field(
        "leak",
        description="gradient of max(tanh, 0) at 0: that of tanh (ours), or none (recalled)",
    )
    bias_full: float = Field(1.5, description="start of beta for the full branch (ours)")
    bias_reduced: float = Field(0.1, description="start of beta for the reduced branches (ours)")
    gate_layers: GateLayers = Field(
        "all",
        description="put gates in all layers; in those whose name contains one of a list, for both"
        " axes or axis by axis; or where halving saves time on this machine: auto (ours)",
    )
    exclude: tuple[str, ...] = Field(
        (), description="leave layers whose name contains one of these dense (ours)"
    )

    @property
    def gated(self) -> AxisLayers:
        """`gate_layers` axis by axis.

        Raises:
            ValueError: They are for a machine's times to decide.
        """
        if isinstance(self.gate_layers, AxisLayers):
            return self.gate_layers
        if self.gate_layers == "auto":
            raise ValueError(NO_TIMES.format("gate_layers: auto"))
        return AxisLayers(channel=self.gate_layers, time=self.gate_layers)

    @property
    def one_branch_weighs_one(self) -> bool:
        """Whether a single live branch is passed on as it is."""
        return self.normalise or self.weights == "hard"

    @property
    def factors(self) -> tuple[int, ...]:
        """Factors by which an axis can be reduced, full first."""
        return (1, 2) if self.search_space == 2 else (1, 2, 4)


class ControlSettings(Settings):
    """How gates are steered to a budget while they train."""

    added = frozenset({"ramp"})

    efficiency_weight: float | None = Field(
        None, description="fixed weight of the efficiency loss; None: steered to the budget (ours)"
    )
    warmup: float = Field(
        0.4, ge=0, lt=1, description="share of steps with gates forced full (ours)"
    )
    ramp: float = Field(
        0.75,
        gt=0,
        le=1,
        description="share of the learning phase in which the target comes down (ours)",
    )
    settle: float = Field(
        0.75, gt=0, le=1, description="share of steps after which gates rest (ours)"
    )
    margin: float = Field(
        0.015, ge=0, lt=0.05, description="stay this far under the budget in training (ours)"
    )


NO_TEACHER = "`distil` needs a warm-up to train its teacher: `warmup` must be > 0, but got 0"


class LossSettings(Settings):
    """What is added to the recognizer's own loss."""

    added = frozenset({"cost", "pressure", "spread", "distil"})

    cost: Literal["macs", "time"] = Field(
        "macs",
        description="a clip's share in the efficiency loss is of multiply-adds (recalled), or of"
        " the time that its layers take on this machine (ours)",
    )
    square: bool = Field(True, description="square the efficiency loss (recalled)")
    only_correct: bool = Field(
        True, description="press only on clips that are classified correctly (recalled)"
    )
    pressure: Literal["clip", "mean"] = Field(
        "clip",
        description="square each clip's share (recalled), or the mean share of the clips pressed"
        " on, so that cheap ones pay for dear ones (ours)",
    )
    spread: float = Field(
        0.0,
        ge=0,
        description="weight of a reward for policies that differ from clip to clip (ours)",
    )
    distil: float = Field(
        0.0,
        ge=0,
        description="weight of the distance to the scores of the dense recognizer that warm-up"
        " trained (ours)",
    )


class TrainingSettings(ControlSettings, LossSettings):
    """How gates are trained: the losses, their learning rate, and the control."""

    added = ControlSettings.added | LossSettings.added | {"reaction_lr", "bias_lr"}

    gate_lr: float = Field(10.0, gt=0, description="learning rate of gates, times the base (ours)")
    reaction_lr: float = Field(
        1.0,
        gt=0,
        le=1,
        description="learning rate of a gate's last weights, by which it reacts to the clip, times"
        " that of its biases (ours)",
    )

    bias_lr: float = Field(
        1.0,
        gt=0,
        description="learning rate of beta, by which gates move for all clips alike (ours)",
    )

    @model_validator(mode="after")
    def _has_a_teacher(self) -> Self:
        if self.distil and not self.warmup:
            raise ValueError(NO_TEACHER)
        return self

    @property
    def control(self) -> ControlSettings:
        """The part that `BudgetHook` needs."""
        return ControlSettings(**self.model_dump(include=set(ControlSettings.model_fields)))

    @property
    def loss(self) -> LossSettings:
        """The part that `AdaptiveLoss` needs."""
        return LossSettings(**self.model_dump(include=set(LossSettings.model_fields)))
