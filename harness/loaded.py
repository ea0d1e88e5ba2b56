"""An adaptive recognizer whose weights lie in a file, ready to be timed on clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from registry.bench.subject import at_scale, dense_macs_of, trained_subject
from registry.recognizers.build import build, example_input
from registry.tables import DATASETS
from registry.vared.gating import gating_of
from registry.vared.method import VaRedMethodSettings
from registry.vared.recognizer import adapt
from registry.weights import State, classes_of, read_state, take_state

from .bench_request import Request
from .entries import DatasetEntry
from .options import option_value
from .problems import UserError, nearest

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset

    from registry.bench.subject import Subject
    from registry.interfaces import ClipShape

GENERATED = "motion"
"""The data set whose clips are drawn where none is named: it needs no files."""

MOST_PIXELS = 256
"""Side of the largest frames that are drawn; larger ones are resized."""


class _Clips(NamedTuple):
    validation: Dataset[Any]
    what: str


def loaded(request: Request, file: Path, num_clips: int) -> Subject:
    """Return the subject of a benchmark that a file's weights make of a recognizer.

    Args:
        request: Names the recognizer, its scale and clip, the method's settings and the clips.
        file: A state dict, MMEngine's checkpoint, or the weights of a trial.
        num_clips: How many clips to draw, where none are named.

    Raises:
        UserError: Settings or clips are not to be had.
        ValueError: The file holds no such weights.
    """
    name, values = request.subject, request.values
    settings = option_value("method-settings", VaRedMethodSettings, values["method-settings"])
    if settings.gate_layers == "auto":
        raise UserError(
            "`--method-settings` must name the layers with gates, axis by axis, instead of "
            "`gate_layers: auto`: times of today might place other gates than those in the file"
        )
    text = values["dataset"]
    dataset = option_value("dataset", DatasetEntry, text) if text else None
    state = _gated(file, name)
    num_classes = classes_of(state, file)
    config, clip = at_scale(name, values["scale"], values["size"], values["frames"], num_classes)
    model = _with_gates(config, clip, settings)
    take_state(model, state, file, "`--scale`, `--frames` or `--method-settings`")
    clips = _generated(clip, num_clips) if dataset is None else _listed(dataset, clip, request)
    dense = build(config, _example(clip))
    macs = dense_macs_of(name, config, clip)
    gates = gating_of(settings, None)
    what = f"{name} of {file.name}"
    return trained_subject(what, model, dense, clip, macs, clips.validation, clips.what, gates)


def _gated(file: Path, name: str) -> State:
    """The tensors of a file, some of them of gates."""
    if not file.is_file():
        there = [path.name for path in file.parent.glob("*")]
        hint = nearest(file.name, there)
        raise UserError(f"`--checkpoint` must be a file, but {file} is none.{hint}")
    state = read_state(file)
    if not any(".vared." in key for key in state):
        raise ValueError(
            f"{file} holds no gates, so there are no learnt routes to time; without --checkpoint, "
            f"`harness bench {name}` times drawn routes"
        )
    return state


def _with_gates(config: dict[str, Any], clip: ClipShape, settings: VaRedMethodSettings) -> Any:
    model = build(config, _example(clip))
    adapt(model, settings, _example(clip))
    return model


def _example(clip: ClipShape) -> Tensor:
    return example_input(clip.input_format, clip.num_frames, clip.size)


def _generated(clip: ClipShape, num_clips: int) -> _Clips:
    """As many motion clips, at the recognizer's size where they can be drawn so large."""
    source = DATASETS.load(GENERATED)
    size = min(clip.size, MOST_PIXELS)
    settings = source.settings_type(
        num_train=1, num_val=num_clips, size=size, length=max(clip.num_frames, 2)
    )
    splits = source.splits(settings, None, clip, 0)
    return _Clips(splits.val, f"{num_clips} generated motion clips, drawn at {size}")


def _listed(dataset: DatasetEntry, clip: ClipShape, request: Request) -> _Clips:
    source = DATASETS.load(dataset.name)
    settings = source.settings_type(**dataset.settings)
    splits = source.splits(settings, request.data_root, clip, 0)
    return _Clips(splits.val, f"validation clips of {dataset.label}")
