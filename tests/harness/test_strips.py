"""Film strips: generated clips are drawn again, all others are not shown."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
import pytest

from harness.strips import HEIGHT, NUM_FRAMES, data_uri, film_strips
from registry.datasets.motion import MOTION, MotionSettings
from results.clips import Clip, Clips
from results.content import Content, content_of
from results.record import Accuracy, InputDependence, Macs, Record
from results.strips import StripPanel

SETTINGS = MotionSettings(num_train=4, num_val=4, num_pairs=1, length=4, size=32)
DIGEST = MOTION.manifest(SETTINGS, None).digest


def content(
    dataset: str = "motion", digest: str = DIGEST, names: str = "val/{}", step: float = 0.1
) -> Content:
    record = Record(
        key="abc",
        status="ok",
        trial={"dataset": {"name": dataset, "settings": SETTINGS.model_dump(mode="json")}},
        dataset=dataset,
        recognizer="tsn",
        method="vared",
        budget=0.7,
        seed=0,
        accuracy=Accuracy(top1=1, top5=1, mean_class=1, num_clips=4),
        macs=Macs(dense=100, mean=65, p5=50, p50=60, p95=80, min=50, max=80),
        input_dependence=InputDependence(
            num_clips=4, num_routes=4, rank_correlation=None, low=None, high=None
        ),
        manifest_digest=digest,
    )
    clips = tuple(
        Clip(name=names.format(i), label=0, prediction=0, share=0.5 + step * i, motion=1.0)
        for i in range(4)
    )
    found = Clips(key="abc", class_names=SETTINGS.class_names, clips=clips)
    return content_of([record], "A sweep").with_clips({"abc": found})


def only(shown: Content) -> StripPanel:
    (panel,) = film_strips(shown)
    return panel


def test_generated_clips_are_drawn_again_cheapest_and_dearest() -> None:
    panel = only(content())
    assert [strip.name for strip in panel.cheapest] == ["val/0", "val/1"]
    assert [strip.name for strip in panel.dearest] == ["val/3", "val/2"]
    assert panel.dearest[0].image == data_uri(MOTION.frames_of(SETTINGS, "val/3"))
    assert all(len(strip.image) < 8000 for strip in (*panel.cheapest, *panel.dearest))


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (dict(dataset="weizmann"), "Clips of real data sets are not shown"),
        (dict(digest="another"), "draws other clips today"),
        (dict(step=0.0), "Every clip executes the same"),
        (dict(dataset="kinetics"), "cannot be drawn again"),
        (dict(names="odd {}"), "a clip is called train/N or val/N, but got 'odd 0'"),
    ],
)
def test_otherwise_it_says_why_there_are_none(shown: Any, why: str) -> None:
    panel = only(content(**shown))
    assert (panel.cheapest, panel.dearest) == ((), ())
    assert why in panel.why_not


def test_a_strip_is_eight_frames_in_order() -> None:
    levels = np.linspace(0, 255, 15).round().astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (15, 64, 64, 3))
    data = data_uri(frames).removeprefix("data:image/jpeg;base64,")
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (HEIGHT, NUM_FRAMES * HEIGHT, 3)
    middles = picture[HEIGHT // 2, HEIGHT // 2 :: HEIGHT, 0].astype(int)
    assert np.abs(middles - levels[::2].astype(int)).max() <= 3
