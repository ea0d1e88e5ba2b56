"""THE tables: what `budgets.yaml` may name. Adding one is one line here."""

from __future__ import annotations

from .catalog import Catalog, Entry

RECOGNIZERS = Catalog(
    "recognizer",
    {
        "tsn": Entry("registry.recognizers.tsn:TSN", "frames one by one, scores averaged (2D)"),
        "tsm": Entry("registry.recognizers.tsm:TSM", "2D with channels shifted in time"),
        "slowfast": Entry("registry.recognizers.slowfast:SLOWFAST", "slow and fast 3D pathways"),
        "r2plus1d": Entry("registry.recognizers.r2plus1d:R2PLUS1D", "3D split into space and time"),
    },
)

METHODS = Catalog(
    "method",
    {
        "dense": Entry("registry.baselines.dense:DENSE", "the unmodified recognizer"),
        "vared": Entry("registry.vared.method:VARED", "gates choose frames and channels per clip"),
        "narrow": Entry("registry.baselines.narrow:NARROW", "fewer channels everywhere, fixed"),
        "static": Entry(
            "registry.baselines.fixed:STATIC", "VA-RED2's cuts, the same for all clips"
        ),
        "random": Entry("registry.baselines.fixed:RANDOM", "VA-RED2's cuts, at random"),
        "frames": Entry("registry.baselines.smaller:FRAMES", "fewer frames of the clip"),
        "size": Entry("registry.baselines.smaller:SIZE", "fewer pixels of each frame"),
    },
)

DATASETS = Catalog(
    "data set",
    {
        "motion": Entry(
            "registry.datasets.motion:MOTION", "digits moving over photographs, generated"
        ),
        "folder": Entry("registry.datasets.folder:FOLDER", "your clips, in MMAction2's list form"),
        "weizmann": Entry("registry.datasets.weizmann:WEIZMANN", "weizmann4: phase or action"),
    },
)
