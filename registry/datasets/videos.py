"""From a listing to a manifest and to splits: what FOLDER and WEIZMANN share."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from .._mmaction import import_mmaction
from ..interfaces import ClipShape, Manifest, Splits
from ..settings import Settings
from .decoding import DecoderChoice, iterate_frames
from .inspection import Video, inspect_videos
from .listing import Clip, Listing, shortened

logger = logging.getLogger(__name__)


class VideoSettings(Settings):
    """How videos are read.

    Args:
        decoder: "auto" takes decord, and PyAV for each file that decord cannot read to its end.
        cache_gb: Decoded clips are kept in memory, resized, when all of them fit in so many GB
            (10**9 bytes); otherwise the frames needed are decoded each time.
    """

    decoder: DecoderChoice = "auto"
    cache_gb: float = Field(2.0, ge=0)


def describe(listing: Listing, settings: VideoSettings) -> Manifest:
    """Return the manifest; decodes every clip that was not seen before, to its end.

    Raises:
        ValueError: As `open_splits`.
    """
    videos = inspect_videos(listing.paths, settings.decoder)
    digest = hashlib.sha256(json.dumps(listing.class_names).encode())
    unreadable: dict[str, None] = {}  # a set that keeps the order
    for split, clips in (("train", listing.train), ("val", listing.val)):
        for clip in clips:
            video = videos[clip.path]
            digest.update(json.dumps([split, clip.name, clip.label, clip.backwards]).encode())
            digest.update(video.sha256.encode())
            if video.decoder is None:
                unreadable[f"{clip.name}: {video.reason}"] = None
    train = _readable(listing.train, videos)
    return Manifest(
        digest.hexdigest(),
        len(listing.train),
        len(listing.val),
        tuple(unreadable),
        tuple(videos[clip.path].num_frames for clip in (*train, *_decodable(listing.val, videos))),
        tuple(_untrained(train, listing.val)),
    )


def open_splits(listing: Listing, settings: VideoSettings, shape: ClipShape, seed: int) -> Splits:
    """Open both splits of a listing.

    Unreadable clips are left out of training, with a warning that names them; in validation they
    stay, all zero and with `unreadable` true in their metainfo.

    Raises:
        ValueError: The training clips that are readable are none, or all of one class.
    """
    videos = inspect_videos(listing.paths, settings.decoder)
    train = _readable(listing.train, videos)
    footage = _Footage(videos, settings.cache_gb, shape)
    warnings = (
        *_left_out(listing.train, videos),
        *_short((*train, *_decodable(listing.val, videos)), videos, shape.num_frames),
        *_untrained(train, listing.val),
    )
    for warning in warnings:
        logger.warning(warning)
    return Splits(
        footage.split(train, listing.class_names, seed),
        footage.split(listing.val, listing.class_names, None),
        listing.class_names,
        warnings,
    )


def _decodable(clips: tuple[Clip, ...], videos: Mapping[Path, Video]) -> tuple[Clip, ...]:
    return tuple(clip for clip in clips if videos[clip.path].decoder)


def _unreadable(clips: tuple[Clip, ...], videos: Mapping[Path, Video]) -> list[str]:
    bad = (clip for clip in clips if videos[clip.path].decoder is None)
    return [f"{clip.name}: {videos[clip.path].reason}" for clip in bad]


def _readable(clips: tuple[Clip, ...], videos: Mapping[Path, Video]) -> tuple[Clip, ...]:
    """Return the training clips that decode, which must suffice to train on."""
    good = _decodable(clips, videos)
    bad = _unreadable(clips, videos)
    if not good:
        raise ValueError(
            f"none of the {len(clips)} training clips can be decoded:\n{shortened(bad)}"
        )
    labels = {clip.label for clip in good}
    if len(labels) == 1:
        raise ValueError(
            f"only one class (label {labels.pop()}) is left to train on, since {len(bad)} of "
            f"{len(clips)} training clips cannot be decoded:\n{shortened(bad)}"
        )
    return good


def _left_out(clips: tuple[Clip, ...], videos: Mapping[Path, Video]) -> Iterator[str]:
    bad = _unreadable(clips, videos)
    if bad:
        rule = f"{len(bad)} of {len(clips)} training clips cannot be decoded and are left out"
        yield "\n  ".join([f"{rule}:", *bad])


def _short(clips: tuple[Clip, ...], videos: Mapping[Path, Video], num_frames: int) -> Iterator[str]:
    short = sum(videos[clip.path].num_frames < num_frames for clip in clips)
    if short:
        yield (
            f"{short} of {len(clips)} clips have fewer than {num_frames} frames: "
            "frames are repeated"
        )


def _untrained(train: tuple[Clip, ...], val: tuple[Clip, ...]) -> Iterator[str]:
    """Yield that validation asks for classes which training never shows."""
    labels = {clip.label for clip in train}
    strange = [clip for clip in val if clip.label not in labels]
    if strange:
        missing = ", ".join(map(str, sorted({clip.label for clip in strange})))
        yield (
            f"{len(strange)} of {len(val)} validation clips are of classes that no training clip "
            f"shows (labels {missing}): they count as wrong"
        )


class _Footage:
    """Frames of videos, from memory where they all fit, else from the files."""

    def __init__(self, videos: Mapping[Path, Video], cache_gb: float, shape: ClipShape) -> None:
        import_mmaction()  # 4 s, which a manifest need not wait for
        from .dataset import short_side

        self._videos = videos
        self._shape = shape
        self._side = short_side(shape.size)
        self._frames: Mapping[Path, NDArray[np.uint8]] = {}
        needed_gb = sum(_resized_bytes(video, self._side) for video in videos.values()) / 1e9
        if needed_gb <= cache_gb:
            self._frames = decoded(tuple(sorted(videos.items())), self._side)
        else:
            logger.info("decoded clips need %.1f GB: each is decoded when wanted", needed_gb)

    def split(self, clips: tuple[Clip, ...], class_names: tuple[str, ...], seed: int | None) -> Any:
        """Return the clips as a data set; `seed` None means validation."""
        from .dataset import ClipDataset, Item

        items = [
            Item(clip.name, clip.label, clip.backwards, self._videos[clip.path].decoder is None)
            for clip in clips
        ]
        source = partial(self._load, clips)
        return ClipDataset(items, source, self._shape, class_names, seed)

    def _load(self, clips: tuple[Clip, ...], index: int) -> dict[str, Any]:
        path = clips[index].path
        if path in self._frames:
            return {"array": self._frames[path]}
        # to a name without extension MMAction2's DecordInit adds ".mp4"
        if self._videos[path].decoder == "decord" and path.suffix:
            return {"filename": str(path)}
        return {"array": decode_resized(path, self._videos[path], self._side)}


def _resized_bytes(video: Video, side: int) -> float:
    if video.decoder is None:
        return 0
    aspect = max(video.height, video.width) / min(video.height, video.width)
    return 3 * video.num_frames * side * side * aspect


@lru_cache(maxsize=1)
def decoded(videos: tuple[tuple[Path, Video], ...], side: int) -> Mapping[Path, NDArray[np.uint8]]:
    """Decode all readable videos, once per process, short side resized to `side` pixels."""
    return {path: decode_resized(path, video, side) for path, video in videos if video.decoder}


def decode_resized(path: Path, video: Video, side: int) -> NDArray[np.uint8]:
    """Decode one video whole, as MMAction2's `Resize` would leave it: uint8 (N, H, W, 3).

    Raises:
        ClipError: It no longer decodes.
    """
    from mmaction.datasets.transforms import Resize

    assert video.decoder is not None
    resize = Resize(scale=(-1, side))
    frames = [
        resize({"imgs": [frame], "img_shape": frame.shape[:2]})["imgs"][0]
        for frame in iterate_frames(path, video.decoder)
    ]
    return np.stack(frames)
