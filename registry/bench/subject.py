"""What is timed: a dense recognizer and its adaptive twin of the same weights, and their clips.

A trained recognizer becomes a subject the same way: itself as `adaptive`, the dense one with the
same host weights as `dense`, and its validation clips.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Dataset

from .._mmaction import init_weights
from ..evaluation import policy_of
from ..interfaces import ClipShape, Scale
from ..macs import count
from ..recognizers.build import build, example_input
from ..recognizers.published import clip_of_recognizer
from ..tables import RECOGNIZERS
from ..vared.gating import ALL_GATES, Gating
from ..vared.policy import Policy
from ..vared.recognizer import adapt
from ..vared.settings import VaRedSettings

NUM_CLASSES = 400
SETTINGS = VaRedSettings(weights="hard")
"""A live branch weighs one, so that forced routes and learnt ones compute the same."""


@dataclass(frozen=True)
class Subject:
    """A recognizer to time.

    Args:
        name: For people.
        dense: The unmodified recognizer, float32, in evaluation mode.
        adaptive: The same weights with gates; its `vared` is a `Policy`.
        clip: What it sees.
        dense_macs: Multiply-adds of the dense recognizer for one clip.
        validation: Clips whose learnt routes are timed; None: routes are drawn.
        clips: Which clips are timed, for people.
        gates: How it was chosen which layers have gates, and what was left without.
    """

    name: str
    dense: nn.Module
    adaptive: nn.Module
    clip: ClipShape
    dense_macs: int
    validation: Dataset[Any] | None = None
    clips: str = "noise"
    gates: Gating = ALL_GATES

    @property
    def policy(self) -> Policy:
        """The policy of the adaptive recognizer."""
        adaptive: Any = self.adaptive
        policy: Policy = adaptive.vared
        return policy

    def noise(self, num_clips: int, seed: int) -> Tensor:
        """Return normalised inputs of that many clips: noise, a time does not depend on it."""
        shape = example_input(
            self.clip.input_format, self.clip.num_frames, self.clip.size, num_clips=num_clips
        ).shape
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_subject(
    name: str,
    scale: Scale = "paper",
    size: int | None = None,
    frames: int | None = None,
    settings: VaRedSettings = SETTINGS,
    seed: int = 0,
) -> Subject:
    """Build a recognizer of the table with random weights, dense and adaptive.

    Args:
        name: A recognizer of the table.
        scale: At paper scale its clip is the one its published config validates on.
        size: Side of the square in pixels, instead of the clip's own.
        frames: Frames, instead of the clip's own.
        settings: Of the method.
        seed: Of the weights.

    Raises:
        LookupError: There is no such recognizer.
        ValueError: The clip does not fit it.
    """
    config, clip = at_scale(name, scale, size, frames)
    return subject_of_config(name, config, clip, settings, seed)


def at_scale(
    name: str,
    scale: Scale,
    size: int | None = None,
    frames: int | None = None,
    num_classes: int = NUM_CLASSES,
) -> tuple[dict[str, Any], ClipShape]:
    """Return the config of a recognizer of the table, and the clip it sees.

    Args:
        name: A recognizer of the table.
        scale: At paper scale its clip is the one its published config validates on.
        size: Side of the square in pixels, instead of the clip's own.
        frames: Frames, instead of the clip's own.
        num_classes: Of its classifier.

    Raises:
        LookupError: There is no such recognizer.
        ValueError: It does not take so many frames.
    """
    recognizer = RECOGNIZERS.load(name)
    clip = clip_of_recognizer(recognizer, scale, size, frames)
    config = recognizer.config(
        scale=scale, num_classes=num_classes, num_frames=clip.num_frames, dropout=0.0
    )
    return config, clip


def subject_of_config(
    name: str,
    config: dict[str, Any],
    clip: ClipShape,
    settings: VaRedSettings,
    seed: int = 0,
    gates: Gating = ALL_GATES,
) -> Subject:
    """Build a recognizer with random weights from its config, dense and adaptive.

    Args:
        name: For people.
        config: MMEngine `model` config of the dense recognizer.
        clip: What it sees.
        settings: Of the method.
        seed: Of the weights.
        gates: How it was chosen which layers have gates.

    Raises:
        ValueError: The clip does not fit it.
    """
    dense_macs = dense_macs_of(name, config, clip)
    example = example_input(clip.input_format, clip.num_frames, clip.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dense = build(config, example)
        init_weights(dense)
        _unsettle(dense)
        adaptive = copy.deepcopy(dense)
        adapt(adaptive, settings, example)
    return Subject(name, dense.eval(), adaptive.eval(), clip, dense_macs, gates=gates)


def dense_macs_of(name: str, config: dict[str, Any], clip: ClipShape) -> int:
    """Return the multiply-adds of a dense recognizer for one clip.

    Raises:
        ValueError: The clip does not fit it.
    """
    shapes = example_input(clip.input_format, clip.num_frames, clip.size, device="meta")
    try:
        return count(build(config, shapes), shapes).total
    except RuntimeError as error:
        shape = tuple(shapes.shape)
        raise ValueError(f"{name} does not take clips of shape {shape}: {error}") from error


def trained_subject(
    name: str,
    adaptive: nn.Module,
    dense: nn.Module,
    clip: ClipShape,
    dense_macs: int,
    validation: Dataset[Any],
    clips: str,
    gates: Gating = ALL_GATES,
) -> Subject:
    """Pair a trained adaptive recognizer with a dense one, which takes its weights over.

    Args:
        name: For people.
        adaptive: Trained.
        dense: Of the same config, built; its weights are replaced.
        clip: What both see.
        dense_macs: Multiply-adds of the dense recognizer for one clip.
        validation: Clips to time, items as `Splits` describes them.
        clips: What they are, for people.
        gates: How it was chosen which layers have gates.

    Raises:
        ValueError: No gate decides in it.
    """
    policy = policy_of(adaptive)
    if policy is None or policy.routes is not None:
        raise ValueError(f"{name} has no gates, so there are no learnt routes to time")
    state = adaptive.state_dict()
    dense.load_state_dict({key: state[key] for key in dense.state_dict()})
    return Subject(name, dense.eval(), adaptive.eval(), clip, dense_macs, validation, clips, gates)


def _unsettle(recognizer: nn.Module) -> None:
    """Move batch norms away from their neutral start, where folding them could not go wrong."""
    for module in recognizer.modules():
        if isinstance(module, _BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
