"""Evaluate a trained recognizer: predictions, and what each clip really executed.

Shape legend: N clips, K classes, L dynamic layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from .computed import Computed
from .macs import Ledger, count
from .recognizers.forward import recognizer_forward
from .stills import motion_of
from .vared.policy import Policy


@dataclass(frozen=True)
class Evaluation:
    """What a validation list gave.

    Args:
        scores_NK: Class scores.
        labels_N: Labels.
        readable_N: False where a clip could not be decoded; such a clip counts as wrong.
        macs_N: Executed multiply-adds of each clip, gates and cheap operations included.
        gate_N: Of these, the gates'.
        rebuild_N: Of these, the cheap operations' and the blending's.
        clips: Names.
        routes: Per dynamic layer, mean share of channels and of frames computed.
        motion_N: How much each clip moves, in grey levels; see `motion_of`.
        computed_NL2: Share of channels and of frames that each layer computed of each clip; no
            layers without dynamic ones.
    """

    scores_NK: NDArray[np.float32]
    labels_N: NDArray[np.int64]
    readable_N: NDArray[np.bool_]
    macs_N: NDArray[np.int64]
    gate_N: NDArray[np.int64]
    rebuild_N: NDArray[np.int64]
    clips: tuple[str, ...]
    routes: dict[str, dict[str, float]]
    motion_N: NDArray[np.float64]
    computed_NL2: NDArray[np.float64]

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Names of the clips that count as wrong because they could not be decoded."""
        return tuple(c for c, ok in zip(self.clips, self.readable_N, strict=True) if not ok)

    def top(self, k: int) -> float:
        """Share of clips whose label is among the k best scores; k is capped at the classes."""
        k = min(k, self.scores_NK.shape[1])
        best = np.argpartition(-self.scores_NK, k - 1, axis=1)[:, :k]
        hit = (best == self.labels_N[:, None]).any(1) & self.readable_N
        return float(hit.mean())

    def mean_class(self) -> float:
        """Top-1 of each class, averaged over the classes that occur."""
        hit = (self.scores_NK.argmax(1) == self.labels_N) & self.readable_N
        return float(np.mean([hit[self.labels_N == label].mean() for label in set(self.labels_N)]))


_COLUMNS = ("scores", "labels", "readable", "clips", "motion")


def evaluate(recognizer: nn.Module, clips: Dataset[Any], batch: int, dense_macs: int) -> Evaluation:
    """Run every clip once, by its own route where the recognizer has gates.

    Args:
        recognizer: Trained; put in eval mode.
        clips: Items as `Splits` describes them.
        batch: Clips at a time.
        dense_macs: Multiply-adds of a recognizer without gates, which all clips cost alike.
    """
    recognizer.eval()
    policy = policy_of(recognizer)
    parts: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    costs: list[tuple[Tensor, Tensor, Tensor]] = []
    computed = Computed(policy)
    with torch.no_grad():
        for data in batches(clips, batch):
            scores = forward(recognizer, data)
            parts["scores"].append(scores.float().cpu().numpy())
            for sample in data["data_samples"]:
                parts["labels"].append(int(sample.gt_label))
                parts["readable"].append(not sample.metainfo.get("unreadable", False))
                parts["clips"].append(str(sample.metainfo.get("clip", len(parts["clips"]))))
            parts["motion"] += map(motion_of, data["inputs"])
            costs.append(_costs(policy, len(scores), dense_macs))
            computed.add()
    macs_N, gate_N, rebuild_N = (
        torch.cat(column).cpu().numpy() for column in zip(*costs, strict=True)
    )
    return Evaluation(
        np.concatenate(parts["scores"]),
        np.array(parts["labels"]),
        np.array(parts["readable"]),
        macs_N,
        gate_N,
        rebuild_N,
        clips=tuple(parts["clips"]),
        routes=computed.means(),
        motion_N=np.array(parts["motion"]),
        computed_NL2=computed.by_clip(len(macs_N)),
    )


def verify_macs(recognizer: Any, clips: Dataset[Any], indices: range) -> int:
    """Check the count of some clips against torch's own counter on the path that skips.

    Returns:
        How many clips were checked.

    Raises:
        ArithmeticError: A count differs; a record must not carry it.
    """
    for index in indices:
        data = pseudo_collate([clips[index]])
        inputs = recognizer.data_preprocessor(data, False)["inputs"]
        ours = count(recognizer, inputs, recognizer_forward)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            recognizer_forward(recognizer, inputs)
        theirs = counter.get_total_flops() // 2
        if ours.flop_counter_macs != theirs:
            raise ArithmeticError(
                f"clip {index}: we count {ours.flop_counter_macs}, torch {theirs}"
            )
        _check_price(policy_of(recognizer), ours, index)
    return len(indices)


OVERHEAD_TOLERANCE = 0.01
"""Gates and blending are priced without the sums of a clip's few weights: far under 1 %."""


def _check_price(policy: Policy | None, ledger: Ledger, index: int) -> None:
    """Compare what a clip was priced at with what ran: layers exactly, overheads within 1 %."""
    if policy is None:
        return
    executed, columns = policy.executed(), ledger.by_column()
    layers = int(executed.layer.sum()) + executed.static
    ran = sum(columns[name] for name in ("conv", "linear", "norm", "pool"))
    if layers != ran:
        raise ArithmeticError(f"clip {index}: layers are priced at {layers}, but {ran} ran")
    for name, priced in (("gate", executed.gate), ("rebuild", executed.rebuild)):
        if abs(int(priced.sum()) - columns[name]) > OVERHEAD_TOLERANCE * columns[name]:  # type: ignore[index]
            raise ArithmeticError(
                f"clip {index}: {name} is priced at {int(priced.sum())}, but {columns[name]} ran"  # type: ignore[index]
            )


@dataclass(frozen=True)
class Agreement:
    """How the inference engine's scores compare with an evaluation's.

    Args:
        num_clips: Clips compared.
        num_disagreeing: Clips with another prediction.
        worst_difference: Largest difference of a score, as a share of its clip's largest score.
        macs_mean: Multiply-adds the engine executed, averaged over the clips.
    """

    num_clips: int
    num_disagreeing: int
    worst_difference: float
    macs_mean: float


def check_engine(fast: Any, clips: Dataset[Any], batch: int, evaluation: Evaluation) -> Agreement:
    """Run every clip through the inference engine and compare with what the evaluation gave.

    Args:
        fast: From `accelerate`, of the recognizer that was evaluated.
        clips: The same clips.
        batch: Clips at a time.
        evaluation: Of these clips.
    """
    scores, executed = [], []
    with torch.no_grad():
        for data in batches(clips, batch):
            scores.append(forward(fast, data).float().cpu().numpy())
            executed += fast.engine.executed
    ours, theirs = np.concatenate(scores), evaluation.scores_NK
    differences = np.abs(ours - theirs).max(1) / np.abs(theirs).max(1)
    return Agreement(
        num_clips=len(ours),
        num_disagreeing=int((ours.argmax(1) != theirs.argmax(1)).sum()),
        worst_difference=float(differences.max()),
        macs_mean=float(np.mean(executed)),
    )


def policy_of(recognizer: nn.Module) -> Policy | None:
    """Return the policy of an adaptive recognizer, None for any other."""
    policy = getattr(recognizer, "vared", None)
    return policy if isinstance(policy, Policy) else None


def gates_decide(recognizer: nn.Module) -> bool:
    """Whether the recognizer has gates that choose each clip's route."""
    policy = policy_of(recognizer)
    return policy is not None and policy.routes is None


def batches(clips: Dataset[Any], batch: int) -> Iterator[Any]:
    """Yield collated batches in order."""
    collate: Callable[[list[Any]], Any] = pseudo_collate
    yield from DataLoader(clips, batch_size=batch, shuffle=False, collate_fn=collate)


def forward(recognizer: Any, data: Any) -> Tensor:
    """Return scores (N, K) of a collated batch of raw clips."""
    inputs = recognizer.data_preprocessor(data, False)["inputs"]
    return recognizer_forward(recognizer, inputs)


def _costs(policy: Policy | None, num_clips: int, dense_macs: int) -> tuple[Tensor, Tensor, Tensor]:
    if policy is None:
        zeros = torch.zeros(num_clips, dtype=torch.int64)
        return zeros + dense_macs, zeros, zeros
    executed = policy.executed()
    return executed.total(), executed.gate.sum(1), executed.rebuild.sum(1)
