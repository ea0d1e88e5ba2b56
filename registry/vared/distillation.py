"""Distillation from the dense recognizer that a run was until its warm-up ended. Ours.

Shape legend: N clips, K classes.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from ..recognizers.forward import recognizer_forward


class Teacher:
    """A frozen copy of a recognizer, gates forced full: the dense one, in evaluation.

    It is no module of the recognizer, so it is in neither its state dict nor its parameters.

    Args:
        recognizer: With gates installed.
    """

    def __init__(self, recognizer: Any) -> None:
        # what a forward left there hangs on its graph, which cannot be copied
        recognizer.vared.forget()
        self.recognizer = copy.deepcopy(recognizer).requires_grad_(False).eval()
        self.recognizer.vared.full = True

    def divergence(self, inputs: Tensor, scores_NK: Tensor) -> Tensor:
        """Return KL(teacher || student) of the class probabilities, averaged over clips, in nats.

        Args:
            inputs: What the student saw.
            scores_NK: The student's class scores, with their graph.
        """
        with torch.no_grad():
            expected_NK = recognizer_forward(self.recognizer, inputs)
        return F.kl_div(
            scores_NK.log_softmax(1),
            expected_NK.log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )
