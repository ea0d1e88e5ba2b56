"""The same cuts without gates that learn: where they do as well, adapting to the clip is idle.

Both run VA-RED2's layers with routes drawn beforehand, weights trained with them from the first
step, each route within a window under the budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ..interfaces import Method, Prepared
from ..settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..vared.policy import Policy

NUM_ROUTES = 64
"""Different routes that `random` draws from."""


class FixedSettings(Settings):
    """What can be cut, and how it is rebuilt: as for VA-RED2."""

    axes: tuple[Literal["channel", "time"], ...] = Field(
        ("channel", "time"), description="what may be reduced"
    )
    cheap: Literal["copy", "scale", "depthwise"] = Field(
        "copy", description="the cheap operation that rebuilds what was not computed"
    )


class RandomSettings(FixedSettings):
    """As for `static`, and the draw."""

    draw: int = Field(0, ge=0, description="seed of the routes; the trial's seed picks among them")


class _Static(Method):
    name = "static"
    takes_budget = True
    settings_type = FixedSettings

    def prepare(
        self, config: dict[str, Any], example: Tensor, budget: float | None, settings: FixedSettings
    ) -> Prepared:
        """Halve channels or frames of layers spread evenly over the network, for every clip alike.

        Raises:
            ValueError: No budget, or none of the recognizer's layers can meet it.
        """
        from ..vared.fixed import places, route_share, route_within, spread

        model, policy = _gateless(config, example, settings)
        order = spread(places(policy.costs, settings.axes))
        route = route_within(policy.costs, order, _share("static", budget))
        policy.routes = route[None]
        halved = int((route > 0).sum())
        share = route_share(policy.costs, route)
        note = f"{halved} of {len(order)} places halved: {share:.4f} of the dense MACs"
        return Prepared(model, notes=(note,))


class _Random(Method):
    name = "random"
    takes_budget = True
    settings_type = RandomSettings

    def prepare(
        self,
        config: dict[str, Any],
        example: Tensor,
        budget: float | None,
        settings: RandomSettings,
    ) -> Prepared:
        """Give each clip one of many routes at random; in evaluation, by its place in the batch.

        Raises:
            ValueError: No budget, or none of the recognizer's layers can meet it.
        """
        import torch

        from ..vared.fixed import places, route_within

        model, policy = _gateless(config, example, settings)
        found = places(policy.costs, settings.axes)
        generator = torch.Generator().manual_seed(settings.draw)
        routes = [
            route_within(
                policy.costs,
                [found[i] for i in torch.randperm(len(found), generator=generator)],
                _share("random", budget),
            )
            for _ in range(NUM_ROUTES)
        ]
        model.backbone.register_forward_pre_hook(_RandomRoutes(policy, torch.stack(routes)))
        return Prepared(model, notes=(f"{NUM_ROUTES} random routes over {len(found)} places",))


class _RandomRoutes:
    """Draws the routes of each batch, after the policy has learnt how many clips it holds."""

    def __init__(self, policy: Policy, routes_RL2: Tensor) -> None:
        self.policy = policy
        self.routes = routes_RL2
        policy.routes = routes_RL2[:1]

    def __call__(self, backbone: nn.Module, _: Any) -> None:
        import torch

        size = self.policy.num_clips
        if backbone.training:
            chosen = torch.randint(len(self.routes), (size,))
        else:
            chosen = torch.arange(size) % len(self.routes)
        self.policy.routes = self.routes[chosen]


def _gateless(
    config: dict[str, Any], example: Tensor, settings: FixedSettings
) -> tuple[Any, Policy]:
    from ..recognizers.build import build
    from ..vared.recognizer import adapt
    from ..vared.settings import VaRedSettings

    model: Any = build(config, example)
    dense_loss = model.loss
    vared = VaRedSettings(axes=settings.axes, cheap=settings.cheap, weights="hard")
    policy = adapt(model, vared, example).policy
    model.loss = dense_loss  # nothing learns to save
    for module in model.modules():
        if hasattr(module, "gate"):
            module.gate.requires_grad_(False)
    return model, policy


def _share(name: str, budget: float | None) -> float:
    if budget is None or not 0 < budget <= 1:
        raise ValueError(f"{name} takes a `budget` in (0, 1], but got {budget}")
    return budget


STATIC = _Static()
RANDOM = _Random()
