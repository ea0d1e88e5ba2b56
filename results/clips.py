"""Clips: what one trial did with each validation clip, beside its record.

A record keeps means and percentiles; this keeps the clips apart. Trials that ended before there
was such a file have none, and nothing may depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Route(_Frozen):
    """What each dynamic layer computes, as shares of its channels and of its frames."""

    channels: tuple[float, ...]
    frames: tuple[float, ...]


class Clip(_Frozen):
    """One validation clip.

    Args:
        name: As the data set calls it.
        label: Its class, an index into `Clips.class_names`.
        prediction: The class of the highest score, right or wrong.
        share: Executed MACs over the dense recognizer's.
        motion: Mean absolute difference of one frame to the next, in grey levels of 255, over the
            frames that the recognizer sees; None where the clip does not decode.
        route: Index into `Clips.routes`; None where there are no dynamic layers.
    """

    name: str
    label: int
    prediction: int
    share: float
    motion: float | None = None
    route: int | None = None


class Point(NamedTuple):
    """A clip that moves so much and executed such a share."""

    motion: float
    share: float


class Clips(_Frozen):
    """All validation clips of the trial `key`, in the order of the list.

    Clips that go the same way share one entry of `routes`, whose values are by `layers`.
    """

    key: str
    class_names: tuple[str, ...]
    layers: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    clips: tuple[Clip, ...]

    @model_validator(mode="after")
    def _indices_lead_somewhere(self) -> Clips:
        for clip in self.clips:
            if not 0 <= clip.label < len(self.class_names):
                raise ValueError(f"clip {clip.name!r} is of class {clip.label}, which has no name")
            if clip.route is not None and not 0 <= clip.route < len(self.routes):
                raise ValueError(f"clip {clip.name!r} goes route {clip.route}, which is not told")
        return self

    def points(self) -> list[Point]:
        """Motion and share of the clips that decode."""
        return [Point(clip.motion, clip.share) for clip in self.clips if clip.motion is not None]


def distinct(routes: Iterable[Route]) -> tuple[tuple[Route, ...], list[int]]:
    """The different routes in the order of their first clip, and by clip which of them it goes."""
    places: dict[Route, int] = {}
    which = [places.setdefault(route, len(places)) for route in routes]
    return tuple(places), which
