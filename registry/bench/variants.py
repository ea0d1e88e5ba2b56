"""THE table of variants: who takes part in a benchmark. Adding one is one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..catalog import Catalog, Entry
from ..vared.engine import accelerate
from . import peers, runners
from .runners import Runner, Scores, without_gradients

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Make = Callable[[nn.Module, Tensor, torch.dtype], Runner]


@dataclass(frozen=True)
class Variant:
    """One way to run a recognizer.

    Args:
        name: In the table.
        summary: One sentence for people.
        make: From a recognizer (dense, or adaptive where `own_dense` is set), an example input of
            the batch and a data type to a `Runner`.
        dtypes: Data types it can run in.
        own_dense: For an adaptive variant, the dense variant of the same engine; "" for dense ones.
        why_not: Why it cannot run here, "" where it can.
    """

    name: str
    summary: str
    make: Make
    dtypes: tuple[str, ...] = tuple(DTYPES)
    own_dense: str = ""
    why_not: Callable[[], str] = lambda: ""

    @property
    def is_adaptive(self) -> bool:
        """Whether it runs the adaptive recognizer, clip by clip on its own route."""
        return bool(self.own_dense)


STOCK = "stock"
"""What outputs are compared with, in float32; always takes part."""


def _engine_dense(recognizer: nn.Module, example: Tensor, dtype: torch.dtype) -> Runner:
    fast = accelerate(recognizer, dtype)
    run = without_gradients(Scores(fast, torch.float32))
    return Runner(run, executed=lambda: list(fast.engine.executed))


def _engine_adaptive(recognizer: Any, example: Tensor, dtype: torch.dtype) -> Runner:
    fast = accelerate(recognizer, dtype)
    policy = recognizer.vared
    policy.runs_gates = True
    run = without_gradients(Scores(fast, torch.float32))
    return Runner(run, policy, lambda: list(fast.engine.executed))


_ALL = (
    Variant(STOCK, "MMAction2 as it is", runners.eager),
    Variant("channels-last", "weights channels-last", runners.channels_last),
    Variant("folded", "batch norms folded", runners.folded),
    Variant("folded-channels-last", "both", runners.folded_channels_last),
    Variant("onednn", "both, all convolutions by oneDNN", runners.onednn),
    Variant("autocast", "MMAction2 under autocast", runners.autocast, ("bfloat16",)),
    Variant(
        "inductor", "torch.compile, frozen", peers.inductor, why_not=lambda: peers.no_compiler()
    ),
    Variant(
        "openvino",
        "OpenVINO's CPU plugin",
        peers.openvino,
        why_not=lambda: peers.missing("openvino"),
    ),
    Variant(
        "onnxruntime",
        "ONNX Runtime's CPU provider",
        peers.onnxruntime,
        ("float32",),
        why_not=lambda: peers.missing("onnxruntime", "onnx", "onnxscript"),
    ),
    Variant("skipping", "gates, skipped in eager PyTorch", runners.skipping, own_dense=STOCK),
    Variant("engine-dense", "our engine, dense", _engine_dense),
    Variant(
        "engine-adaptive",
        "our engine, gates and lazy reconstruction",
        _engine_adaptive,
        own_dense="engine-dense",
    ),
)

VARIANTS = {variant.name: variant for variant in _ALL}
_NAMES = Catalog("variant", {v.name: Entry("", v.summary) for v in _ALL})


def chosen(names: Sequence[str]) -> tuple[Variant, ...]:
    """Return the variants to run, in the table's order; none named means all.

    Those that figures need come along: stock, and the dense partner of each adaptive one.

    Raises:
        LookupError: A name is not in the table.
    """
    for name in names:
        _NAMES[name]
    wanted = {STOCK, *(names or VARIANTS)}
    wanted |= {VARIANTS[name].own_dense for name in wanted}
    return tuple(variant for variant in _ALL if variant.name in wanted)
