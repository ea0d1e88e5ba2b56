"""What a recognizer, a method and a data set must offer to stand in `tables.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from mmengine.hooks import Hook
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.utils.data import Dataset

    from .vared.times import MachineTimes

Scale = Literal["desk", "paper"]
InputFormat = Literal["NCHW", "NCTHW"]
"""How MMAction2 packs a clip: frames folded into the batch (2D), or as an axis (3D)."""


@dataclass(frozen=True)
class ClipShape:
    """The clip a recognizer sees: frames, side of the square in pixels, and packing."""

    num_frames: int
    size: int
    input_format: InputFormat


class Recognizer(ABC):
    """A recognizer as MMAction2 configs at two scales."""

    name: str
    input_format: InputFormat

    @abstractmethod
    def config(
        self, *, scale: Scale, num_classes: int, num_frames: int, dropout: float
    ) -> dict[str, Any]:
        """Return the MMEngine `model` config: no `pretrained`, nothing to download."""


@dataclass(frozen=True)
class Prepared:
    """A recognizer made ready by a method.

    Args:
        model: The recognizer to train; weights not yet initialised.
        hooks: MMEngine hooks the method needs while training.
        paramwise: Additions to `custom_keys` of MMEngine's `paramwise_cfg`.
        notes: What the method converted, what it left and why; shown to people.
    """

    model: nn.Module
    hooks: Sequence[Hook] = ()
    paramwise: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Method(ABC):
    """A way to spend fewer multiply-adds on a recognizer.

    Args of `prepare`:
        config: MMEngine model config of the dense recognizer.
        example: Zeros in the shape of the recognizer's inputs for one clip.
        budget: Share of the dense MACs in (0, 1], None for methods that take none.
        settings: Validated by the pydantic model `settings_type`.
    """

    name: str
    takes_budget: bool
    has_gates: bool = False
    """Whether gates of VA-RED2 decide, so that a trained recognizer can be shifted to a budget."""
    starts_from_dense: bool = True
    """Whether a trained dense recognizer's weights fit, so that training may start from them."""
    settings_type: type[Any]
    """A frozen pydantic model with defaults; its fields are what `budgets.yaml` may set."""

    @abstractmethod
    def prepare(
        self, config: dict[str, Any], example: Tensor, budget: float | None, settings: Any
    ) -> Prepared:
        """Build the recognizer this method trains.

        Raises:
            ValueError: The budget or a setting cannot be met; the message names it.
        """

    def needs_times(self, settings: Any) -> bool:
        """Whether these settings want to know what the recognizer's layers take on a machine."""
        return False

    def with_times(self, times: MachineTimes) -> Method:
        """Return the method as it prepares a recognizer whose layers take so long."""
        return self


@dataclass(frozen=True)
class Manifest:
    """What a data set consists of, so that two labs can tell whether theirs are the same.

    Args:
        digest: Hash over every clip's name, label and content (or generator and seed).
        num_train: Clips listed for training.
        num_val: Clips listed for validation: the denominator of every accuracy.
        unreadable: Names of clips that do not decode, each with the reason.
        num_frames: Frames of each clip that decodes; empty where clips are generated.
        warnings: What else a person should know before training, one sentence each.
    """

    digest: str
    num_train: int
    num_val: int
    unreadable: tuple[str, ...] = ()
    num_frames: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Splits:
    """Training and validation clips ready for MMEngine's loaders.

    Each item is what MMAction2's `PackActionInputs` makes: dict(inputs=uint8 Tensor,
    data_samples=ActionDataSample with gt_label). `inputs` has the shape (T, 3, S, S) for "NCHW" and
    (1, 3, T, S, S) for "NCTHW". `warnings` say what was left out or repeated; records keep them.
    """

    train: Dataset[Any]
    val: Dataset[Any]
    class_names: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class ClipSource(ABC):
    """A data set. `settings_type` as for `Method`."""

    name: str
    settings_type: type[Any]

    @abstractmethod
    def manifest(self, settings: Any, data_root: Path | None) -> Manifest:
        """Describe the clips; cached beside the data's own digest where hashing is slow.

        Raises:
            ValueError: Missing files, empty lists, labels out of range, one class only: all of
                them in one message.
        """

    @abstractmethod
    def splits(self, settings: Any, data_root: Path | None, clip: ClipShape, seed: int) -> Splits:
        """Open both splits. `seed` drives augmentation, never the clips or the lists."""


class GeneratedSource(ClipSource):
    """A data set whose clips are drawn, not recorded, so that they may be shown to anybody."""

    @abstractmethod
    def frames_of(self, settings: Any, clip: str) -> NDArray[np.uint8]:
        """Draw one clip again by its name: all its frames, uint8 (T, H, W, 3) RGB.

        Raises:
            ValueError: No clip is called so.
        """
