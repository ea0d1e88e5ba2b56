"""Executed multiply-adds of a recognizer, layer by layer, and what could not be counted.

One MAC is one multiply-add ("FLOPs" in this field); the convention is the model zoo's, see
`_operators.py`. Every ATen operator of an evaluation forward is seen as it runs, so work that is
skipped is not counted, and nothing is dropped in silence: an operator is counted, listed as
uncounted (element by element work the zoo leaves out), or listed as unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ._mmaction import zoo_config
from ._operators import FLOP_COUNTER_KINDS, MAC_KINDS, Cost, cost_of
from .interfaces import ClipShape, Scale
from .recognizers.build import build, example_input
from .recognizers.forward import recognizer_forward
from .recognizers.published import clip_of_config, clip_of_recognizer
from .tables import RECOGNIZERS

Column = Literal["conv", "linear", "norm", "pool", "gate", "rebuild"]

_CLAIMABLE = ("gate", "rebuild")
"""Columns a module claims through its attribute `macs_column`, for all that runs beneath it."""


@dataclass(frozen=True)
class Ledger:
    """The MACs of one forward pass.

    Args:
        macs: MACs by module path and column. Conv, linear, norm and pool by their operator; "gate"
            and "rebuild" hold whatever ran beneath a module that claims them, there also one MAC
            for each element added, multiplied or averaged.
        flop_counter_macs: Convolutions and matrix products of all columns: what torch's
            FlopCounterMode knows (its total is twice this).
        uncounted: Operators the convention leaves out, with the elements they touched.
        unknown: Operators of unknown cost, with the elements they touched. A total beside an
            unknown operator is a lower bound.
    """

    macs: Mapping[tuple[str, Column], int]
    flop_counter_macs: int
    uncounted: Mapping[str, int]
    unknown: Mapping[str, int]

    @property
    def total(self) -> int:
        """MACs of all layers and columns."""
        return sum(self.macs.values())

    def by_column(self) -> dict[Column, int]:
        """Return the MACs of each column, zeros included."""
        columns: dict[Column, int] = dict.fromkeys(get_args(Column), 0)
        for (_, column), macs in self.macs.items():
            columns[column] += macs
        return columns

    def by_layer(self) -> dict[str, dict[Column, int]]:
        """Return the MACs of each module path and column, in the order they first ran."""
        layers: dict[str, dict[Column, int]] = {}
        for (layer, column), macs in self.macs.items():
            layers.setdefault(layer, {})[column] = macs
        return layers


Forward = Callable[[nn.Module, Tensor], Any]


def count(model: nn.Module, inputs: Tensor, forward: Forward | None = None) -> Ledger:
    """Run one evaluation forward and count what it executes.

    Args:
        model: Any module; with tensors on the "meta" device only shapes are computed.
        inputs: Counted as they are: pass one clip for MACs per clip.
        forward: How to run the model; a recognizer from its inputs to class scores by default.

    Raises:
        ValueError: A module claims a column there is not.
    """
    meter = _Meter(model)
    training = model.training
    model.eval()
    try:
        with meter.hooks(), torch.no_grad(), meter:
            (forward or recognizer_forward)(model, inputs)
    finally:
        model.train(training)
    return meter.ledger()


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Books every operator under the innermost module that is running."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.paths = {module: path for path, module in model.named_modules()}
        self.running: list[tuple[str, Column | None]] = [("", _claim(model))]
        self.macs: Counter[tuple[str, Column]] = Counter()
        self.flop_counter_macs = 0
        self.uncounted: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def ledger(self) -> Ledger:
        """Return what was booked."""
        return Ledger(
            dict(self.macs), self.flop_counter_macs, dict(self.uncounted), dict(self.unknown)
        )

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Follow the modules as they run."""
        handles = []
        for module in self.paths:
            handles.append(module.register_forward_pre_hook(self._enter))
            handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        claimed = self.running[-1][1]
        self.running.append((self.paths[module], _claim(module) or claimed))

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.running.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self._book(str(func.overloadpacket), cost_of(func, args, kwargs, out))
        return out

    def _book(self, operator: str, cost: Cost) -> None:
        layer, claimed = self.running[-1]
        if cost.kind in MAC_KINDS or (claimed and cost.kind == "arithmetic"):
            self.macs[layer, claimed or cast(Column, cost.kind)] += cost.amount
        elif cost.kind == "unknown":
            self.unknown[operator] += cost.amount
        elif cost.kind != "free":
            self.uncounted[operator] += cost.amount
        if cost.kind in FLOP_COUNTER_KINDS:
            self.flop_counter_macs += cost.amount


def _claim(module: nn.Module) -> Column | None:
    column: Any = getattr(module, "macs_column", None)
    if column is not None and column not in _CLAIMABLE:
        raise ValueError(
            f"`macs_column` of {type(module).__name__} must be one of {', '.join(_CLAIMABLE)}, "
            f"but got {column!r}"
        )
    return cast("Column | None", column)


def summarise(
    name_or_path: str,
    scale: Scale = "paper",
    size: int | None = None,
    frames: int | None = None,
    num_classes: int = 400,
) -> dict[str, Any]:
    """Return what a dense recognizer costs for one view of one clip. Only shapes are computed.

    Args:
        name_or_path: A recognizer of the table, or an MMAction2 config file: a path, absolute or
            relative to the folder of configs in the mmaction2 wheel.
        scale: For a recognizer of the table. At paper scale its clip is the one its published
            config validates on.
        size: Side of the square in pixels, instead of the clip's own.
        frames: Frames, instead of the clip's own. A config file's clip is that of its
            `test_pipeline`, the one the model zoo's figures are of.
        num_classes: Outputs of the classifier, for a recognizer of the table.

    Returns:
        `input_shape`, `params`, `dense_gmacs`, `gmacs_conv_linear` (what FlopCounterMode can
        confirm), `layers` (rows of `layer`, `column`, `macs`), `uncounted` and `unknown`
        (operator to elements).

    Raises:
        LookupError: `name_or_path` is neither.
        ValueError: The clip cannot be read from the config, or does not fit the recognizer.
    """
    config, clip = _config_and_clip(name_or_path, scale, size, frames, num_classes)
    example = example_input(clip.input_format, clip.num_frames, clip.size, device="meta")
    try:
        recognizer = build(config, example)
        ledger = count(recognizer, example)
    except RuntimeError as error:
        shape = tuple(example.shape)
        raise ValueError(f"{name_or_path} does not take clips of shape {shape}: {error}") from error
    return {
        "input_shape": list(example.shape),
        "params": sum(parameter.numel() for parameter in recognizer.parameters()),
        "dense_gmacs": ledger.total / 1e9,
        "gmacs_conv_linear": ledger.flop_counter_macs / 1e9,
        "layers": [
            {"layer": layer, "column": column, "macs": macs}
            for (layer, column), macs in ledger.macs.items()
        ],
        "uncounted": dict(ledger.uncounted),
        "unknown": dict(ledger.unknown),
    }


def _config_and_clip(
    name_or_path: str, scale: Scale, size: int | None, frames: int | None, num_classes: int
) -> tuple[dict[str, Any], ClipShape]:
    if name_or_path.endswith(".py"):
        file = zoo_config(name_or_path)
        return file["model"], clip_of_config(file, "test_pipeline", size, frames)
    recognizer = RECOGNIZERS.load(name_or_path)
    clip = clip_of_recognizer(recognizer, scale, size, frames)
    config = recognizer.config(
        scale=scale, num_classes=num_classes, num_frames=clip.num_frames, dropout=0.0
    )
    return config, clip
