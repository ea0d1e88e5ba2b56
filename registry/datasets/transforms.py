"""Steps that MMAction2's pipelines lack, registered beside MMAction2's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmaction.registry import TRANSFORMS
from numpy.typing import NDArray


def symmetric_centres(total_frames: int, num_frames: int) -> NDArray[np.int64]:
    """Return one frame index per equal segment, the second half mirroring the first.

    `index[-1 - i] == total_frames - 1 - index[i]` holds for every i, so a clip and its reverse
    give the same frames in opposite order. The one exception is forced: the middle frame of an odd
    `num_frames` in a clip of even length has no mirror image, and the earlier of the two central
    frames is taken.

    Args:
        total_frames: Length of the clip, at least 1.
        num_frames: Frames wanted, at least 1; more than `total_frames` repeats frames.
    """
    first = (2 * np.arange((num_frames + 1) // 2) + 1) * total_frames // (2 * num_frames)
    if num_frames % 2:
        first[-1] = (total_frames - 1) // 2
    mirrored = total_frames - 1 - first[: num_frames // 2]
    return np.concatenate([first, mirrored[::-1]]).astype(np.int64)


def random_per_segment(total_frames: int, num_frames: int) -> NDArray[np.int64]:
    """Return one random frame index from each of `num_frames` equal segments, in order."""
    position = (np.arange(num_frames) + np.random.random(num_frames)) / num_frames
    return np.minimum(position * total_frames, total_frames - 1).astype(np.int64)


@TRANSFORMS.register_module()
class SampleSegments:
    """Choose one frame per equal segment (TSN): random in training, centres in testing.

    Needs `total_frames`; adds `frame_inds`, `clip_len`, `num_clips` and `frame_interval`. Draws
    from NumPy's global state, as MMAction2's own transforms do.

    Args:
        num_frames: Frames to choose, at least 1.
        input_format: "NCHW" packs them as `num_frames` clips of one frame, "NCTHW" as one clip.
        test_mode: Take the time-symmetric centres instead of random frames.
    """

    def __init__(
        self, num_frames: int, input_format: str = "NCHW", test_mode: bool = False
    ) -> None:
        self.num_frames = num_frames
        self.input_format = input_format
        self.test_mode = test_mode

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the chosen indices to `results`."""
        choose = symmetric_centres if self.test_mode else random_per_segment
        results["frame_inds"] = choose(results["total_frames"], self.num_frames)
        folded = self.input_format == "NCHW"
        results["num_clips"] = self.num_frames if folded else 1
        results["clip_len"] = 1 if folded else self.num_frames
        results["frame_interval"] = None
        return results


@TRANSFORMS.register_module()
class PlayBackwards:
    """Turn the chosen indices round where `backwards` is true; needs `frame_inds`.

    Indices run over the clip as it is played, frames over the file as it was recorded.
    """

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace `frame_inds` by indices into the recorded file."""
        if results["backwards"]:
            results["frame_inds"] = results["total_frames"] - 1 - results["frame_inds"]
        return results


@TRANSFORMS.register_module()
class ScaleBrightness:
    """Multiply all frames of a clip by one random factor.

    Args:
        low: Smallest factor.
        high: Largest factor; 1.0 leaves the clip as it is.
    """

    def __init__(self, low: float = 0.8, high: float = 1.2) -> None:
        self.low = low
        self.high = high

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace `imgs`, uint8, values above 255 cut off."""
        factor = np.random.uniform(self.low, self.high)
        table = np.clip(np.arange(256) * factor, 0, 255).astype(np.uint8)
        results["imgs"] = [table[image] for image in results["imgs"]]
        return results
