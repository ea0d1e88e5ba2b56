"""A smaller input: fewer frames, or fewer pixels, at the same multiply-adds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..interfaces import Method, Prepared
from ..settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn


class SmallerSettings(Settings):
    """Nothing to set."""


class _Smaller(Method):
    """Trains and evaluates the dense recognizer on inputs that it makes smaller first."""

    takes_budget = True
    settings_type = SmallerSettings
    axis: str

    def prepare(
        self,
        config: dict[str, Any],
        example: Tensor,
        budget: float | None,
        settings: SmallerSettings,
    ) -> Prepared:
        """Build the recognizer for the largest input at or under `budget` times the dense MACs.

        Raises:
            ValueError: `budget` is not in (0, 1], or no smaller input meets it.
        """
        from ..recognizers.build import build

        if budget is None or not 0 < budget <= 1:
            raise ValueError(f"{self.name} takes a `budget` in (0, 1], but got {budget}")
        dense = _macs(config, example)
        full = self._size(example)
        for size in range(full, 0, -1):
            smaller = self._reduced(example, size)
            own = self._config(config, size)
            macs = _macs(own, smaller)
            if macs is not None and dense is not None and macs <= budget * dense:
                model = build(own, smaller)
                model.register_forward_pre_hook(
                    _InputReducer(self._reduced, size), with_kwargs=True
                )
                note = f"{size} of {full} {self.axis}: {macs / dense:.4f} of the dense MACs"
                return Prepared(model, notes=(note,))
        raise ValueError(f"`budget` {budget:g} cannot be met by fewer {self.axis} here")

    @abstractmethod
    def _size(self, inputs: Tensor) -> int: ...

    @abstractmethod
    def _reduced(self, inputs: Tensor, size: int) -> Tensor: ...

    @abstractmethod
    def _config(self, config: dict[str, Any], size: int) -> dict[str, Any]: ...


class _Frames(_Smaller):
    name = "frames"
    axis = "frames"

    def _size(self, inputs: Tensor) -> int:
        return inputs.shape[_time_axis(inputs)]

    def _reduced(self, inputs: Tensor, size: int) -> Tensor:
        """Keep frames at the middles of equal parts."""
        import torch

        full = self._size(inputs)
        middles = [int((i + 0.5) * full / size) for i in range(size)]
        return inputs.index_select(_time_axis(inputs), torch.tensor(middles, device=inputs.device))

    def _config(self, config: dict[str, Any], size: int) -> dict[str, Any]:
        """Tell the parts that are built for a number of frames."""
        parts = {
            name: part | {"num_segments": size}
            for name, part in config.items()
            if isinstance(part, dict) and "num_segments" in part
        }
        return config | parts


class _Size(_Smaller):
    name = "size"
    axis = "pixels a side"

    def _size(self, inputs: Tensor) -> int:
        return inputs.shape[-1]

    def _reduced(self, inputs: Tensor, size: int) -> Tensor:
        """Resize each frame, averaging over what falls together."""
        from torch.nn import functional as F  # noqa: N812

        if size == self._size(inputs):
            return inputs
        if inputs.device.type == "meta":
            return inputs.new_zeros(*inputs.shape[:-2], size, size)
        images = inputs.flatten(0, -4)
        resized = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        return resized.view(*inputs.shape[:-2], size, size)

    def _config(self, config: dict[str, Any], size: int) -> dict[str, Any]:
        return config


class _InputReducer:
    """Makes the inputs of a recognizer smaller before it sees them."""

    def __init__(self, reduce: Callable[[Tensor, int], Tensor], size: int) -> None:
        self.reduce = reduce
        self.size = size

    def __call__(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (self.reduce(args[0], self.size), *args[1:]), kwargs
        return args, kwargs | {"inputs": self.reduce(kwargs["inputs"], self.size)}


def _time_axis(inputs: Tensor) -> int:
    """(N, T, 3, S, S) or (N, 1, 3, T, S, S)."""
    return 1 if inputs.dim() == 5 else 3


def _macs(config: dict[str, Any], example: Tensor) -> int | None:
    """Multiply-adds for one clip; None where the recognizer does not take such a clip."""
    from ..macs import count
    from ..recognizers.build import build

    shapes = example.to("meta")
    try:
        return count(build(config, shapes), shapes).total
    except (RuntimeError, ValueError, AssertionError):
        return None


FRAMES = _Frames()
SIZE = _Size()
