"""Decode videos frame by frame: decord first, PyAV where decord fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Decoder = Literal["decord", "pyav"]
DecoderChoice = Literal["auto", "decord", "pyav"]
Frame = NDArray[np.uint8]


class ClipError(Exception):
    """A video cannot be decoded to its end; the message is the reason, without the path."""


def iterate_frames(path: Path, decoder: Decoder) -> Iterator[Frame]:
    """Yield all frames of a video in order, each uint8 (H, W, 3) RGB, upright.

    A cut that leaves the container consistent (Matroska, transport streams) cannot be told from a
    shorter clip and is read as one.

    Raises:
        ClipError: No frame decodes, or fewer than the file announces.
    """
    iterate: Callable[[Path], Iterator[Frame]] = {"decord": _decord, "pyav": _pyav}[decoder]
    count = 0
    try:
        for frame in iterate(path):
            yield frame
            count += 1
    except Exception as error:  # decord's own error derives from nothing narrower
        # decord decodes ahead: how many frames it gave before it failed is chance
        stopped = f"stops after {count} frames: " if count and decoder == "pyav" else ""
        raise ClipError(f"{stopped}{_reason(error)} ({decoder})") from error
    if count == 0:
        raise ClipError(f"no frame decodes ({decoder})")


def _reason(error: Exception) -> str:
    """Return one line without path, clock time or address: the same on every machine."""
    text = str(getattr(error, "strerror", None) or error)  # PyAV's and Python's own, less the path
    text = re.sub(r"\[\d\d:\d\d:\d\d\] \S+?:\d+: |0x[0-9a-f]+", "", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:160] if lines else type(error).__name__


def _decord(path: Path) -> Iterator[Frame]:
    import decord

    # opened by us: decord asked for a missing name reports an unsupported format
    with path.open("rb") as file:
        reader = decord.VideoReader(file, num_threads=1)
    for _ in range(len(reader)):
        frame = reader.next().asnumpy()
        # decord 0.6 takes the padding of rows that are 16, 32 or 48 pixels wide for a channel
        if frame.shape[-1] != 3:
            raise ValueError(f"decord gives {frame.shape[-1]} channels at {frame.shape[1]} pixels")
        yield frame


def _pyav(path: Path) -> Iterator[Frame]:
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("the file has no video stream")
        announced, count = container.streams.video[0].frames, 0
        for frame in container.decode(video=0):
            yield _upright(frame)
            count += 1
    if 0 < count < announced:  # many containers announce nothing, which reads as 0
        raise ValueError(f"the header announces {announced}")


def _upright(frame: Any) -> Frame:
    """Return the frame turned as its side data asks, which decord does by itself."""
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
