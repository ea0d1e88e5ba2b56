"""Zoo: rows that MMAction2's model zoo prints, in the `metafile.yml` files of its wheel."""

from __future__ import annotations

from dataclasses import dataclass

from .citation import Count, NotHere, Published

_ZOO = "https://github.com/open-mmlab/mmaction2/tree/main/configs/recognition"


@dataclass(frozen=True)
class _Zoo:
    """A row of the model zoo. `size` is given where its figure is not of the config's test clip."""

    id: str
    name: str
    config: str
    clip: str
    gflops: str
    params: str
    top1: str
    data: str = "Kinetics-400"
    size: int | None = None
    note: str = ""


_TSM_PARAMS = (
    "the row repeats the parameters of the classifier for the 174 classes of "
    "Something-Something-v2; a classifier for 400 classes has 226 x 2049 more"
)

_ZOO_ROWS = (
    _Zoo(
        "zoo-tsn-r50-8",
        "TSN ResNet-50 1x1x8",
        "tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb.py",
        "25 frames at 224",
        "102.7",
        "24.33",
        "74.12",
    ),
    _Zoo(
        "zoo-tsm-r50-8",
        "TSM ResNet-50 1x1x8",
        "tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py",
        "8 frames at 224",
        "32.88",
        "23.87",
        "73.18",
        note=_TSM_PARAMS,
    ),
    _Zoo(
        "zoo-tsm-r50-16",
        "TSM ResNet-50 1x1x16",
        "tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x16-50e_kinetics400-rgb.py",
        "16 frames at 224",
        "65.75",
        "23.87",
        "75.12",
        note=_TSM_PARAMS,
    ),
    _Zoo(
        "zoo-slowfast-r50-4x16",
        "SlowFast ResNet-50 4x16x1",
        "slowfast/slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb.py",
        "32 frames at 256",
        "36.3",
        "34.5",
        "75.55",
    ),
    _Zoo(
        "zoo-slowfast-r50-8x8",
        "SlowFast ResNet-50 8x8x1",
        "slowfast/slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb.py",
        "32 frames at 256",
        "66.1",
        "34.6",
        "76.80",
    ),
    _Zoo(
        "zoo-r2plus1d-r34-8x8",
        "R(2+1)D ResNet-34 8x8x1",
        "r2plus1d/r2plus1d_r34_8xb8-8x8x1-180e_kinetics400-rgb.py",
        "8 frames at 256",
        "53.1",
        "63.8",
        "69.76",
    ),
    _Zoo(
        "zoo-r2plus1d-r34-32x2",
        "R(2+1)D ResNet-34 32x2x1",
        "r2plus1d/r2plus1d_r34_8xb8-32x2x1-180e_kinetics400-rgb.py",
        "32 frames at 256",
        "213",
        "63.8",
        "75.46",
    ),
    _Zoo(
        "zoo-i3d-r50-32x2",
        "I3D ResNet-50 32x2x1",
        "i3d/i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb.py",
        "32 frames at 256",
        "43.5",
        "28.0",
        "73.47",
    ),
    _Zoo(
        "zoo-slowonly-r50-4x16",
        "SlowOnly ResNet-50 4x16x1",
        "slowonly/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb.py",
        "4 frames at 256",
        "27.38",
        "32.45",
        "72.68",
    ),
    _Zoo(
        "zoo-slowonly-r50-8x8",
        "SlowOnly ResNet-50 8x8x1",
        "slowonly/slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb.py",
        "8 frames at 256",
        "54.75",
        "32.45",
        "74.82",
    ),
    _Zoo(
        "zoo-c3d-16x1",
        "C3D 16x1x1",
        "c3d/c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb.py",
        "16 frames at 112",
        "38.5",
        "78.4",
        "83.08",
        data="UCF-101",
    ),
    _Zoo(
        "zoo-tsn-r50-8-sthv2",
        "TSN ResNet-50 1x1x8",
        "tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-50e_sthv2-rgb.py",
        "25 frames at 224",
        "102.7",
        "23.87",
        "35.51",
        data="Something-Something-v2",
    ),
    _Zoo(
        "zoo-tsm-r50-8-sthv2",
        "TSM ResNet-50 1x1x8",
        "tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv2-rgb.py",
        "8 frames at 224",
        "32.88",
        "23.87",
        "62.72",
        data="Something-Something-v2",
        size=224,
    ),
    _Zoo(
        "zoo-tsm-r50-16-sthv2",
        "TSM ResNet-50 1x1x16",
        "tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x16-50e_sthv2-rgb.py",
        "16 frames at 224",
        "65.75",
        "23.87",
        "64.16",
        data="Something-Something-v2",
        size=224,
    ),
)


def _of_row(row: _Zoo) -> tuple[Published, ...]:
    source = f"{_ZOO}/{row.config.partition('/')[0]}/metafile.yml"
    config = f"recognition/{row.config}"
    one_view = f"one view of one clip, {row.clip}"
    last_digit = "half of the last printed digit"
    macs = Count(config, "gmacs", row.gflops, row.size)
    params = Count(config, "params", row.params, row.size)
    return (
        Published(
            f"{row.id}.gmacs",
            f"{row.name} costs {row.gflops} GFLOPs ({row.data})",
            source,
            "zoo",
            one_view,
            last_digit,
            macs,
        ),
        Published(
            f"{row.id}.params",
            f"{row.name} has {row.params} M parameters ({row.data})",
            source,
            "zoo",
            "all parameters, classifier included",
            last_digit,
            params,
            row.note,
        ),
        Published(
            f"{row.id}.top1",
            f"{row.name} reaches {row.top1} % top-1 on {row.data}",
            source,
            "zoo",
            "the zoo's test protocol, several views a clip",
            "1 point",
            NotHere(f"needs the clips of {row.data} and the zoo's checkpoint; neither is here"),
        ),
    )


ZOO: tuple[Published, ...] = tuple(figure for row in _ZOO_ROWS for figure in _of_row(row))
"""Multiply-adds, parameters and accuracy of every row."""
