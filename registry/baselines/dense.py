"""The unmodified recognizer: what every saving is a share of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..interfaces import Method, Prepared
from ..settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class DenseSettings(Settings):
    """Nothing to set."""


class _Dense(Method):
    name = "dense"
    starts_from_dense = False
    takes_budget = False
    settings_type = DenseSettings

    def prepare(
        self, config: dict[str, Any], example: Tensor, budget: float | None, settings: DenseSettings
    ) -> Prepared:
        """Build the recognizer as its config says; `budget` is None.

        Raises:
            ValueError: A budget is given, or the config's width cannot be applied.
        """
        from ..recognizers.build import build

        if budget is not None:
            raise ValueError(f"dense takes no `budget`, but got {budget}")
        return Prepared(build(config, example))


DENSE = _Dense()
