"""Weights of a trained recognizer in a file: tensors by name, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checkpoint import write_state


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
