"""Records made by hand, for all tests of `results`."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import pytest

from results.clips import Clip, Clips, Route
from results.record import Accuracy, Failure, Latency, Macs, Record

DENSE_MACS = 4_000_000_000


class MakeRecord(Protocol):
    def __call__(
        self,
        method: str = "VA-RED²",
        *,
        name: str = "vared",
        budget: float | None = 0.7,
        seed: int = 0,
        top1: float = 0.5,
        share: float = 0.7,
        dataset: str = "UCF-101",
        recognizer: str = "TSM",
        failed: bool = False,
        **fields: Any,
    ) -> Record: ...


def _make_record(
    method: str = "VA-RED²",
    *,
    name: str = "vared",
    budget: float | None = 0.7,
    seed: int = 0,
    top1: float = 0.5,
    share: float = 0.7,
    dataset: str = "UCF-101",
    recognizer: str = "TSM",
    failed: bool = False,
    **fields: Any,
) -> Record:
    trial = {
        "dataset": {"name": dataset.lower(), "settings": {}, "label": dataset},
        "recognizer": {"name": recognizer.lower(), "settings": {"depth": 50}, "label": recognizer},
        "method": {"name": name, "settings": {"ratio": 2}, "label": method},
        "budget": budget,
        "seed": seed,
    }
    digest = hashlib.sha256(repr(sorted(trial.items())).encode()).hexdigest()
    outcome = _failed() if failed else _measured(top1, share)
    common: dict[str, Any] = {
        "key": digest[:12],
        "trial": trial,
        "dataset": dataset,
        "recognizer": recognizer,
        "method": method,
        "budget": budget,
        "seed": seed,
        "started_at": "2026-01-02T03:04:05+00:00",
        "finished_at": "2026-01-02T03:05:05+00:00",
    }
    return Record(**{**common, **outcome, **fields})


def _failed() -> dict[str, Any]:
    failure = Failure(kind="RuntimeError", message="out of memory", traceback="Traceback ...")
    return {"status": "failed", "failure": failure}


def _measured(top1: float, share: float) -> dict[str, Any]:
    mean = share * DENSE_MACS
    return {
        "status": "ok",
        "accuracy": Accuracy(top1=top1, top5=top1, mean_class=top1, num_clips=100),
        "macs": Macs(
            dense=DENSE_MACS, mean=mean, p5=mean, p50=mean, p95=mean, min=int(mean), max=int(mean)
        ),
        "latency": Latency(
            dense_ms_p50=100.0,
            dense_ms_p95=110.0,
            ms_p50=80.0,
            ms_p95=90.0,
            num_repeats=5,
            num_threads=1,
        ),
        "budget_status": "met",
        "train_time_s": 60.0,
        "history": (
            {"epoch": 1.0, "loss": 2.0, "accuracy_top1": top1 / 2},
            {"epoch": 2.0, "loss": 1.0, "accuracy_top1": top1},
        ),
        "environment": {"torch": "2.13.0", "cpu": "x86-64"},
    }


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    """A factory of records. Equal arguments give the same trial, so the same key."""
    return _make_record


class MakeClips(Protocol):
    def __call__(
        self, key: str, *, num_clips: int = 6, num_classes: int = 2, unreadable: int = 0
    ) -> Clips: ...


def _make_clips(
    key: str, *, num_clips: int = 6, num_classes: int = 2, unreadable: int = 0
) -> Clips:
    return Clips(
        key=key,
        class_names=tuple(f"class {i}" for i in range(num_classes)),
        layers=("conv1",),
        routes=(Route(channels=(1.0,), frames=(0.5,)), Route(channels=(0.5,), frames=(0.5,))),
        clips=tuple(
            Clip(
                name=f"val/{i}",
                label=i % num_classes,
                prediction=0,
                share=0.5 + 0.4 * i / num_clips,
                motion=None if i < unreadable else 1.0 + i,
                route=i % 2,
            )
            for i in range(num_clips)
        ),
    )


@pytest.fixture(scope="session")
def make_clips() -> MakeClips:
    """A factory of clips; the later one moves more and executes more."""
    return _make_clips
