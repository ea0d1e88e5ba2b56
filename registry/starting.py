"""Start training from the weights of a dense recognizer instead of drawn ones. Ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ._mmaction import import_mmaction
from .weights import read_state, take_state

import_mmaction()

from mmengine.hooks import Hook  # noqa: E402
from mmengine.model import is_model_wrapper  # noqa: E402

OURS = ".vared."
"""Part of the name of every parameter that a dense recognizer lacks: gates, cheap operations."""


class StartFrom(Hook):  # type: ignore[misc]
    """Loads weights before the first step; training that goes on has its own.

    Args:
        path: Weights of the dense recognizer, as `write_weights` writes them.
    """

    priority = "VERY_HIGH"

    def __init__(self, path: Path) -> None:
        self.path = path

    def before_train(self, runner: Any) -> None:
        """MMEngine has drawn the weights by now, or a checkpoint was taken up."""
        if runner.iter == 0:
            take_up(self.path, runner.model)


def take_up(path: Path, model: nn.Module) -> None:
    """Load a dense recognizer's weights into one that is dense but for gates and the like.

    Raises:
        OSError: The file cannot be read.
        ValueError: The recognizer has other weights.
    """
    model = model.module if is_model_wrapper(model) else model  # type: ignore[assignment]
    take_state(model, read_state(path), path, "the recognizer or its recipe", may_lack=OURS)
