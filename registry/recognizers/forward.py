"""One forward pass of a recognizer from its inputs to class scores."""

from __future__ import annotations

from torch import Tensor, nn


def recognizer_forward(recognizer: nn.Module, inputs: Tensor) -> Tensor:
    """Return the scores (N, classes) of backbone, neck and head, before any softmax.

    MMAction2's own test mode stops a 3D recognizer before its head, hence the plain mode.
    """
    scores: Tensor = recognizer(inputs, stage="head")
    return scores
