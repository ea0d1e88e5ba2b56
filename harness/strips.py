"""Film strips for the page: generated clips are drawn again; recorded ones are never shown."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from registry.interfaces import GeneratedSource
from registry.tables import DATASETS
from results.strips import MAX_PANELS, StripPanel, best, extremes, strip

if TYPE_CHECKING:
    from results.clips import Clips
    from results.content import Content
    from results.record import Record

NUM_FRAMES = 8
HEIGHT = 40
"""Of a frame, pixels."""

QUALITY = 80
"""Of the JPEG: a strip takes some 5 kB."""

RECORDED = "Clips of real data sets are not shown: they are of people, and not ours to publish."
OTHERS = "The generator draws other clips today than this trial saw, so none is shown."


def film_strips(content: Content) -> list[StripPanel]:
    """Return a panel for each recognizer and data set whose best trial's clips are at hand.

    Args:
        content: With its clips.
    """
    found = [
        _panel(f"{frontier.recognizer} on {frontier.dataset}", run, content.clips[run.key])
        for frontier in content.frontiers
        if (run := best(frontier)) and run.key in content.clips
    ]
    if (more := len(found) - MAX_PANELS) > 0:
        left_out = StripPanel(f"{more} more", "", why_not="Left out to keep the page small.")
        return [*found[:MAX_PANELS], left_out]
    return found


def _panel(title: str, run: Record, clips: Clips) -> StripPanel:
    budget = "" if run.budget is None else f" {run.budget:g}"
    title = f"{title}: {run.method}{budget}, seed {run.seed}"
    cheap, dear = extremes(clips)
    if not cheap:
        return StripPanel(title, run.key, why_not="Every clip executes the same.")
    try:
        source = DATASETS.load(run.trial["dataset"]["name"])
        if not isinstance(source, GeneratedSource):
            return StripPanel(title, run.key, why_not=RECORDED)
        settings = source.settings_type(**run.trial["dataset"].get("settings", {}))
        if source.manifest(settings, None).digest != run.manifest_digest:
            return StripPanel(title, run.key, why_not=OTHERS)
        cheapest, dearest = (
            tuple(
                strip(clips, clip, data_uri(source.frames_of(settings, clip.name)))
                for clip in chosen
            )
            for chosen in (cheap, dear)
        )
        return StripPanel(title, run.key, cheapest, dearest)
    except (LookupError, ValueError) as error:  # records of another version, or of elsewhere
        return StripPanel(title, run.key, why_not=f"They cannot be drawn again: {error}")


def data_uri(frames_THWC: Any) -> str:
    """Return evenly spaced frames, from the first to the last, side by side as a JPEG data URI.

    Args:
        frames_THWC: uint8 (T, H, W, 3) RGB.
    """
    import cv2
    import numpy as np

    chosen = np.linspace(0, len(frames_THWC) - 1, NUM_FRAMES).round().astype(int)
    _, height, width, _ = frames_THWC.shape
    size = max(1, round(width * HEIGHT / height)), HEIGHT
    small = [cv2.resize(frames_THWC[i], size, interpolation=cv2.INTER_AREA) for i in chosen]
    picture = np.concatenate(small, axis=1)[..., ::-1]  # OpenCV writes BGR
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
