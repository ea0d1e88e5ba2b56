"""AdamW with as few groups of parameters as there are different settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._mmaction import import_mmaction, quiet_logging

import_mmaction()

from mmengine.optim import DefaultOptimWrapperConstructor  # noqa: E402
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS  # noqa: E402

Group = dict[str, Any]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedConstructor(DefaultOptimWrapperConstructor):  # type: ignore[misc]
    """MMEngine's constructor, parameters with the same settings in one group.

    MMEngine makes a group of every parameter. A fused optimiser is called once a group, which for
    small recognizers takes longer than its arithmetic; gates bring many small parameters. Each
    parameter is updated by the same numbers either way.
    """

    def add_params(
        self, params: list[Group], module: Any, prefix: str = "", **choices: Any
    ) -> None:
        """Collect the groups of a module's parameters; of the whole model's, the merged ones."""
        if prefix:
            super().add_params(params, module, prefix, **choices)
            return
        with quiet_logging():  # MMEngine has a line for each parameter
            super().add_params(params, module, **choices)
        params[:] = merged(params)


def merged(groups: Iterable[Group]) -> list[Group]:
    """Return one group for each combination of settings, in the order of their first parameter."""
    by_settings: dict[tuple[Any, ...], Group] = {}
    for group in groups:
        settings = {name: value for name, value in group.items() if name != "params"}
        key = tuple(sorted(settings.items()))
        by_settings.setdefault(key, {"params": [], **settings})["params"] += group["params"]
    return list(by_settings.values())


def optimiser_settings(
    lr: float, weight_decay: float, paramwise: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """Return MMEngine's `optim_wrapper` of the recipe.

    Args:
        lr: Learning rate.
        weight_decay: Of all but normalisation and biases.
        paramwise: Factors on both, by parts of parameters' names.
    """
    return {
        "constructor": "GroupedConstructor",
        "optimizer": {
            "type": "AdamW",
            "lr": lr,
            "weight_decay": weight_decay,
            "fused": True,  # one pass over all parameters: gates bring many small ones
        },
        "paramwise_cfg": {
            "norm_decay_mult": 0.0,
            "bias_decay_mult": 0.0,
            "custom_keys": paramwise,
        },
    }
