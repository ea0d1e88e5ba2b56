"""Fewer channels everywhere, fixed: the plain competitor at the same multiply-adds."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..interfaces import Method, Prepared
from ..settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

_STEPS = 1_000
"""Widths are searched in steps of 1/1000, each worth about 0.2 % of the dense MACs."""


class NarrowSettings(Settings):
    """Nothing to set."""


class _Narrow(Method):
    name = "narrow"
    starts_from_dense = False
    takes_budget = True
    settings_type = NarrowSettings

    def prepare(
        self,
        config: dict[str, Any],
        example: Tensor,
        budget: float | None,
        settings: NarrowSettings,
    ) -> Prepared:
        """Build the widest recognizer whose MACs are at or under `budget` times the dense ones.

        The search compares shapes on the "meta" device, so it costs no arithmetic.

        Raises:
            ValueError: `budget` is not in (0, 1], or one channel everywhere still exceeds it.
        """
        from ..recognizers.build import build

        if budget is None or not 0 < budget <= 1:
            raise ValueError(f"narrow takes a `budget` in (0, 1], but got {budget}")
        shapes = example.to("meta")
        macs_at = lru_cache(lambda step: _macs(_narrowed(config, step), shapes))
        dense_macs = macs_at(_STEPS)
        step = _last_within(lambda step: macs_at(step) <= budget * dense_macs)
        if step == 0:
            least = macs_at(1) / dense_macs
            raise ValueError(f"`budget` must be >= {least:.4f} for narrow here, but got {budget}")
        share = macs_at(step) / dense_macs
        note = f"width {step / _STEPS} of the dense recognizer's: {share:.4f} of its MACs"
        return Prepared(build(_narrowed(config, step), example), notes=(note,))


def _narrowed(config: dict[str, Any], step: int) -> dict[str, Any]:
    return config | {"width": config.get("width", 1.0) * step / _STEPS}


def _macs(config: dict[str, Any], shapes: Tensor) -> int:
    from ..macs import count
    from ..recognizers.build import build

    return count(build(config, shapes), shapes).total


def _last_within(fits: Callable[[int], bool]) -> int:
    """Return the last step that fits, 0 for none; no step after a misfit fits.

    That holds for MACs because each layer's channels never fall as the width rises.
    """
    low, high = 0, _STEPS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


NARROW = _Narrow()
