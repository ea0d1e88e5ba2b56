"""Weights of a trained recognizer in a file: tensors by name, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from .checkpoint import write_state

State = dict[str, Tensor]

MMENGINE_KEY = "state_dict"
"""Under which MMEngine's checkpoints keep the weights."""


def write_weights(path: Path, model: nn.Module) -> None:
    """Write a model's weights, whole or not at all, in place of any earlier ones.

    Raises:
        OSError: The folder cannot be written.
    """
    write_state(path, {name: t.detach().cpu() for name, t in model.state_dict().items()})


def read_weights(path: Path, model: nn.Module) -> None:
    """Load weights into a model of the same architecture, in place.

    Raises:
        OSError: The file cannot be read.
        ValueError: It does not hold the weights of such a model.
    """
    try:
        weights: Any = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(weights)
    except OSError:
        raise
    except Exception as error:  # damage shows as almost any of them
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{path} must hold weights of this recognizer ({reason})") from error


class _Ignored:
    """Stands for whatever a checkpoint holds beside tensors and plain data; nothing of it runs."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_state(path: Path) -> State:
    """Return the tensors of a checkpoint by name: plain, or under MMEngine's `state_dict`.

    Nothing that the file holds is executed: MMEngine's logs of past values, for instance, are read
    as nothing.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no checkpoint, or holds no tensors by name.
    """
    held = _loaded(path)
    state = held.get(MMENGINE_KEY, held) if isinstance(held, Mapping) else held
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{path} must hold tensors by name, but holds a {type(held).__name__}")
    others = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(
            f"{path} must hold tensors by name, at its root or under `{MMENGINE_KEY}`, but "
            f"{_few(others)} are none"
        )
    return {str(name): value for name, value in state.items()}


def _loaded(path: Path) -> Any:
    try:
        foreign = get_unsafe_globals_in_checkpoint(path)
        with safe_globals([(_Ignored, name) for name in foreign]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain data; it is not read"
        ) from error
    except Exception as error:  # what is no checkpoint shows as almost any of them
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{path} is no checkpoint that PyTorch can read ({reason})") from error


def classes_of(state: State, path: Path) -> int:
    """Return how many classes the classifier among the weights of a recognizer tells apart.

    Args:
        state: By name.
        path: For people.

    Raises:
        ValueError: There is no classifier.
    """
    biases = [t for name, t in state.items() if name.startswith("cls_head.") and _is_bias(name)]
    if len(biases) != 1:
        raise ValueError(
            f"{path} must hold one classifier, a bias below `cls_head.`, but holds {len(biases)}"
        )
    return len(biases[0])


def _is_bias(name: str) -> bool:
    return name.endswith(".bias")


def take_state(
    model: nn.Module, state: State, path: Path, suspects: str, may_lack: str | None = None
) -> None:
    """Load weights into a model, in place; all of its tensors and no others.

    Args:
        model: Built.
        state: By name.
        path: For people.
        suspects: What may be wrong where they do not fit, for people.
        may_lack: Part of the names of tensors that may be missing; None: none may.

    Raises:
        ValueError: Some are missing, not known, or of another shape.
    """
    own = model.state_dict()
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = {
        "missing": [
            name for name in own if name not in state and (may_lack is None or may_lack not in name)
        ],
        "unexpected": [name for name in state if name not in own],
        "of another shape": shapes,
    }
    told = [f"{len(names)} {what}: {_few(names)}" for what, names in problems.items() if names]
    if told:
        raise ValueError(
            f"{path} does not fit this recognizer; {suspects} may be other than in training. "
            f"Tensors: {'; '.join(told)}"
        )
    model.load_state_dict(state, strict=may_lack is None)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
