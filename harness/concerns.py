"""What a person should know of the data: clips that do not decode, or are shorter than asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from registry.interfaces import Manifest

from .trial import Trial

MOST_NAMED = 20
"""Clips named one by one; records name all."""


def concerns(trials: Iterable[Trial], found: Mapping[str, Manifest]) -> list[str]:
    """Return a sentence for each concern, with the data set's label.

    Args:
        trials: Say how many frames are wanted.
        found: The data sets, by label.
    """
    lengths: dict[str, set[int]] = {label: set() for label in found}
    for trial in trials:
        lengths[trial.dataset.label].add(trial.recipe.frames)
    return [
        f"{label}: {text}"
        for label, manifest in found.items()
        for text in (
            *_unreadable(manifest),
            *_short(manifest, lengths[label]),
            *manifest.warnings,
        )
    ]


def _unreadable(manifest: Manifest) -> Iterator[str]:
    clips = manifest.unreadable
    if clips:
        rule = "training goes on without them, in validation they count as wrong"
        rest = [f"and {len(clips) - MOST_NAMED} more"] if len(clips) > MOST_NAMED else []
        names = [*clips[:MOST_NAMED], *rest]
        yield "\n  ".join([f"{len(clips)} of the clips cannot be decoded; {rule}:", *names])


def _short(manifest: Manifest, lengths: Iterable[int]) -> Iterator[str]:
    for wanted in sorted(lengths):
        count = sum(num_frames < wanted for num_frames in manifest.num_frames)
        if count:
            yield (
                f"{count} of {len(manifest.num_frames)} clips have fewer than {wanted} frames: "
                "frames are repeated"
            )
