"""Scale the channels of a built recognizer: one surgery for every MMAction2 backbone.

MMAction2's 2D ResNet has its 64 base channels written into the code, and each 3D backbone names
its width differently, so width is not a matter of config. Instead a forward pass runs through the
built recognizer, and each layer is resized when the data reaches it: outputs by one rounding of
the nominal number, inputs to whatever arrives. So concatenations come out right by themselves, and
equal nominal widths stay equal, which is what residual sums need.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from .forward import recognizer_forward


def scale_width(recognizer: nn.Module, width: float, example: Tensor) -> None:
    """Multiply every channel number of a recognizer by `width`, in place.

    A layer with C nominal outputs gets `max(1, round(width * C))`, Python's rounding (halves to
    even); what enters is the data's own, the classifier's outputs never change. Depthwise
    convolutions stay depthwise; other groups keep their number. Weights are drawn anew by each
    layer's `reset_parameters`: call the recognizer's `init_weights` as usual afterwards. The
    attributes `in_channels` and `out_channels` of composed modules are kept true; `inplanes`,
    `planes` and the like of residual blocks keep the nominal values they were built from.

    Args:
        recognizer: An MMAction2 recognizer, as built.
        width: Factor on channels, > 0; 1.0 leaves the recognizer alone.
        example: Input of one clip, on the recognizer's device.

    Raises:
        ValueError: `width` is not positive, or a module cannot be scaled; the message names it.
    """
    if width <= 0:
        raise ValueError(f"`width` must be > 0, but got {width}")
    if width == 1.0:
        return
    surgery = _Surgery(recognizer, width)
    surgery.check_layers()
    with _eval_mode(recognizer), surgery.hooks(), torch.no_grad():
        surgery.run(example)
    surgery.check_reached()


def scaled_channels(width: float, channels: int) -> int:
    """Return `max(1, round(width * channels))`: the one rounding of this project."""
    return max(1, round(width * channels))


class _Surgery:
    """The state of one pass: which layers were reached, and where the data is now."""

    def __init__(self, recognizer: nn.Module, width: float) -> None:
        self.recognizer = recognizer
        self.width = width
        self.reached: dict[nn.Module, int] = {}
        self.path = ""
        self.paths = {module: path for path, module in recognizer.named_modules()}
        self.layers = {module: path for module, path in self.paths.items() if module._parameters}
        self.classifiers = _classifiers(recognizer)

    def check_layers(self) -> None:
        """Refuse layers of an unknown kind before anything is touched."""
        for layer, path in self.layers.items():
            known = isinstance(layer, (_ConvNd, _BatchNorm, nn.Linear))
            if not known or getattr(layer, "transposed", False):
                raise ValueError(f"cannot scale the width of {path!r} ({type(layer).__name__})")

    def run(self, example: Tensor) -> None:
        """Send the example through, resizing as it goes."""
        try:
            recognizer_forward(self.recognizer, example)
        except RuntimeError as error:
            kind = type(self.recognizer.get_submodule(self.path)).__name__
            raise ValueError(
                f"cannot scale the width by {self.width}: after {self.path!r} ({kind}), {error}"
            ) from error

    def check_reached(self) -> None:
        """Refuse to leave layers behind that no data reached, hence at their old width."""
        missed = [path for layer, path in self.layers.items() if layer not in self.reached]
        if missed:
            raise ValueError(f"cannot scale layers that no data reaches: {', '.join(missed)}")

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Attach to every module for the duration of one forward pass."""
        handles = []
        for module in self.paths:
            handles.append(module.register_forward_pre_hook(self.enter))
            handles.append(module.register_forward_hook(_update_out_channels))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Resize a layer, or bring a composed module's channel attributes up to date."""
        self.path = self.paths[module]
        arriving = _channels(inputs[:1], axis=-1 if isinstance(module, nn.Linear) else 1)
        if module not in self.layers:
            _update_composed(module, arriving, self.width)
        elif module not in self.reached:
            self.reached[module] = arriving
            self.resize(module, arriving)
        elif self.reached[module] != arriving:
            raise ValueError(f"cannot scale {self.path!r}: used twice with different channels")

    def resize(self, layer: nn.Module, arriving: int) -> None:
        """Rebuild one layer for `arriving` input channels."""
        if isinstance(layer, _BatchNorm):
            _resize_norm(layer, arriving)
        elif isinstance(layer, nn.Linear):
            _resize_linear(layer, arriving, self.outputs(layer, layer.out_features))
        elif isinstance(layer, _ConvNd):
            outputs = self.outputs(layer, layer.out_channels)
            _resize_conv(layer, arriving, outputs, self.path)

    def outputs(self, layer: nn.Module, nominal: int) -> int:
        """Return how many channels a layer of `nominal` outputs gets."""
        return nominal if layer in self.classifiers else scaled_channels(self.width, nominal)


def _classifiers(recognizer: nn.Module) -> set[nn.Module]:
    """Return the head's layers that put out class scores."""
    head: Any = recognizer.cls_head
    outputs = ((layer, getattr(layer, "out_features", None)) for layer in head.modules())
    return {layer for layer, num_outputs in outputs if num_outputs == head.num_classes}


def _channels(value: Any, axis: int) -> int:
    """Return the channels of a tensor, or of all tensors of a tuple together."""
    if isinstance(value, Tensor):
        return value.shape[axis] if value.dim() > 1 else 0
    return sum(_channels(item, axis) for item in value)


def _update_composed(module: nn.Module, arriving: int, width: float) -> None:
    state = vars(module)
    if isinstance(state.get("in_channels"), int):
        state["in_channels"] = arriving
    if isinstance(state.get("inter_channels"), int):
        # mmcv's non-local block reshapes by this number
        state["inter_channels"] = scaled_channels(width, state["inter_channels"])


def _update_out_channels(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    if isinstance(vars(module).get("out_channels"), int):
        vars(module)["out_channels"] = _channels(output, axis=1)


def _resize_conv(conv: _ConvNd, arriving: int, outputs: int, path: str) -> None:
    if conv.groups == conv.in_channels > 1:
        multiplier = conv.out_channels // conv.groups
        conv.groups, outputs = arriving, arriving * multiplier
    if arriving % conv.groups or outputs % conv.groups:
        raise ValueError(
            f"cannot scale {path!r}: {conv.groups} groups do not divide "
            f"{arriving} input and {outputs} output channels"
        )
    conv.in_channels, conv.out_channels = arriving, outputs
    shape = (outputs, arriving // conv.groups, *conv.kernel_size)
    _replace(conv, weight=shape, bias=(outputs,))


def _resize_linear(linear: nn.Linear, arriving: int, outputs: int) -> None:
    linear.in_features, linear.out_features = arriving, outputs
    _replace(linear, weight=(outputs, arriving), bias=(outputs,))


def _resize_norm(norm: _BatchNorm, arriving: int) -> None:
    norm.num_features = arriving
    for name in ("running_mean", "running_var"):
        statistics = norm._buffers[name]
        if statistics is not None:
            norm._buffers[name] = statistics.new_empty(arriving)
    _replace(norm, weight=(arriving,), bias=(arriving,))


def _replace(layer: _ConvNd | _BatchNorm | nn.Linear, **shapes: tuple[int, ...]) -> None:
    for name, shape in shapes.items():
        old = layer._parameters[name]
        if old is not None:
            fresh = nn.Parameter(old.new_empty(shape), requires_grad=old.requires_grad)
            layer._parameters[name] = fresh
    layer.reset_parameters()


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
