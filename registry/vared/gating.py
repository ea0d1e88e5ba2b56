"""Which layers have gates, on which axes, how that was chosen, and what was left without. Ours."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .settings import Axis, LayerNames, VaRedSettings

if TYPE_CHECKING:
    from .times import MachineTimes

NOT_NAMED = "not among `gate_layers`"

Choice = Literal["all", "auto", "named"]

WHAT: Mapping[Axis, str] = {"channel": "channels", "time": "frames"}


@dataclass(frozen=True)
class Gating:
    """Which layers were to have gates.

    Args:
        choice: All that can, those that times decided on, or those that were named.
        notes: Of layers whose gate was left without an axis, and of what was undecided.
        left: Why times left a layer without a gate, by its path.
    """

    choice: Choice = "all"
    notes: Sequence[str] = ()
    left: Mapping[str, str] = field(default_factory=dict)


ALL_GATES = Gating()


def gating_of(settings: VaRedSettings, times: MachineTimes | None) -> Gating:
    """Return how settings chose, for a recognizer of these times.

    Args:
        settings: As they were given.
        times: Needed where they are to decide.
    """
    if settings.gate_layers == "auto" and times is not None:
        return _by_times(times, settings.axes)
    return ALL_GATES if settings.gate_layers == "all" else Gating("named")


def _by_times(times: MachineTimes, axes: Sequence[Axis]) -> Gating:
    gated = {name for axis in axes for name in times.paying(axis)}
    dense = [layer.layer for layer in times.layers if layer.layer not in gated]
    reason = f"halving it saves too little time ({times.where})"
    return Gating("auto", tuple(_notes(times, axes, gated)), dict.fromkeys(dense, reason))


def _notes(times: MachineTimes, axes: Sequence[Axis], gated: set[str]) -> Iterator[str]:
    if times.was_busy:
        yield (
            f"layers were timed on a busy machine, load {times.load:.1f} on {times.num_cores} "
            "cores: on a quiet one, other gates may be left out"
        )
    for axis in axes:
        idle = [name for name in times.idle(axis) if name in gated]
        if idle:
            yield (
                f"no gate on the {WHAT[axis]} of {len(idle)} layers with one on the other axis, "
                f"since halving them saves too little time ({times.where}): {', '.join(idle)}"
            )
        if undecided := times.undecided(axis):
            yield (
                f"whether halving the {WHAT[axis]} of {len(undecided)} layers saves time was too "
                f"uncertain to say, and decided by the median: {', '.join(undecided)}"
            )


def axes_of(conv: str, paths: Collection[str], settings: VaRedSettings) -> list[Axis]:
    """Return the axes that a gate of a convolution may reduce; none where it gets no gate.

    Args:
        conv: Path of the convolution.
        paths: Of all convolutions of the recognizer.
        settings: Of the method.
    """
    lists = {"channel": settings.gated.channel, "time": settings.gated.time}
    return [axis for axis in settings.axes if _is_named(conv, lists[axis], paths)]


def check_names(settings: VaRedSettings, paths: Collection[str]) -> None:
    """Check that every name of `gate_layers` means a layer.

    Raises:
        ValueError: One means none.
    """
    idle = [name for name in settings.gated.names if not any(name in path for path in paths)]
    if idle:
        few = ", ".join(list(paths)[:3])
        raise ValueError(
            f"no layer's name contains {', '.join(map(repr, idle))} of `gate_layers`; "
            f"there are {few}, ... (`harness bench RECOGNIZER --layers` lists them)"
        )


def _is_named(conv: str, names: LayerNames, paths: Collection[str]) -> bool:
    return names == "all" or any(_means(name, conv, paths) for name in names)


def _means(name: str, conv: str, paths: Collection[str]) -> bool:
    # a whole path means that convolution alone, and none whose path it begins
    return name == conv if name in paths else name in conv
