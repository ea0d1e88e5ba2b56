"""Peers: what other efficient recognizers print. Nothing of it can be checked here."""

from __future__ import annotations

from .citation import NotHere, Published

_ANOTHER_LIST = (
    "; two validation lists are called Mini-Kinetics (9,866 and 5,000 clips), and the figures of "
    "the two do not compare"
)


def _peer(id: str, name: str, data: str, top1: str, gflops: str, source: str) -> Published:
    also = _ANOTHER_LIST if data == "Mini-Kinetics" else ""
    return Published(
        f"peer-{id}",
        f"{name} reaches {top1} % top-1 at {gflops} GFLOPs a video on {data}",
        source,
        "peer",
        "the peer's own, as its repository prints it",
        "1 point at the same GFLOPs",
        NotHere(f"another method, and the clips of {data} are not here{also}"),
    )


_AR_NET = "https://github.com/mengyuest/AR-Net"
_ADAFUSE = "https://github.com/mengyuest/AdaFuse"
_FRAMEEXIT = "https://github.com/Qualcomm-AI-research/FrameExit"
_ADAFOCUS_V2 = "https://github.com/LeapLabTHU/AdaFocusV2"
_UNI_ADAFOCUS = "https://github.com/LeapLabTHU/Uni-AdaFocus"
_MINI, _V1, _V2 = "Mini-Kinetics", "Something-Something-v1", "Something-Something-v2"

PEERS: tuple[Published, ...] = (
    _peer("ar-net", "AR-Net", _MINI, "71.7", "32.0", _AR_NET),
    _peer("adafuse", "AdaFuse", _MINI, "72.3", "23.0", _ADAFUSE),
    _peer("frameexit", "FrameExit", _MINI, "72.8", "19.7", _FRAMEEXIT),
    _peer("adafocus-v2", "AdaFocusV2", _MINI, "75.4", "27.0", _ADAFOCUS_V2),
    _peer("uni-adafocus", "Uni-AdaFocus", _MINI, "75.7", "18.1", _UNI_ADAFOCUS),
    _peer("tsm-sthv1", "TSM", _V1, "46.1", "32.7", _UNI_ADAFOCUS),
    _peer("adafuse-tsm-sthv1", "AdaFuse-TSM+Last", _V1, "46.8", "31.5", _ADAFUSE),
    _peer("adafocus-v2-tsm-sthv1", "AdaFocusV2-TSM", _V1, "47.0", "18.5", _ADAFOCUS_V2),
    _peer("uni-adafocus-tsm-sthv1", "Uni-AdaFocus-TSM", _V1, "51.5", "24.2", _UNI_ADAFOCUS),
    _peer("tsm-sthv2", "TSM", _V2, "59.1", "32.7", _UNI_ADAFOCUS),
    _peer("adafuse-tsm-sthv2", "AdaFuse-TSM+Last", _V2, "59.8", "31.3", _ADAFUSE),
    _peer("adafocus-v2-tsm-sthv2", "AdaFocusV2-TSM", _V2, "59.6", "18.5", _ADAFOCUS_V2),
    _peer("uni-adafocus-tsm-sthv2", "Uni-AdaFocus-TSM", _V2, "64.2", "24.2", _UNI_ADAFOCUS),
    Published(
        "peer-uni-adafocus-speed",
        "31 / 46 / 75 % fewer FLOPs of Uni-AdaFocus-TSM save 29 / 40 / 62 % of the time",
        "Uni-AdaFocus's paper, read off its Table 4",
        "peer",
        "one RTX 3090, against TSM with the same inputs",
        "not fixed",
        NotHere("another method on another device; `harness bench` times this one"),
    ),
    Published(
        "peer-adafocus-speed",
        "28 % fewer FLOPs of AdaFocus-TSM save 10 % of the time on a GPU and none on a CPU",
        "AdaFocus's paper, read off its Table 3, against plain TSM",
        "peer",
        "RTX 2080 Ti at batch 64, i7 at batch 1",
        "not fixed",
        NotHere("another method on another device; `harness bench` times this one"),
    ),
)
"""Accuracy beside cost, and the two figures of measured speed."""
