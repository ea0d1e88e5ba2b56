"""What a person asks `harness bench` for, checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from registry.interfaces import Scale

from .problems import UserError, nearest

if TYPE_CHECKING:
    from registry.bench.bout import Options

DRAWN: dict[str, Any] = {
    "scale": "paper",
    "size": None,
    "frames": None,
    "saving": 0.35,
    "axes": "both",
    "seeds": 3,
    "gate-layers": "all",
}
"""What can be chosen where routes are drawn, and is the trial's own where they are learnt."""

LEARNT: dict[str, Any] = {"clips": 16}
"""The other way round."""

OF_FILE: dict[str, Any] = {"dataset": ""}
"""What only weights in a file leave open."""

METHOD: dict[str, Any] = {"method-settings": "{}"}
"""What all but a trial leaves open."""

_OF_ROUTES = ("saving", "axes", "seeds", "gate-layers")
"""Of `DRAWN`, what gates in a file decide, or have decided."""

GATE_LAYERS = ("all", "auto")


@dataclass(frozen=True)
class Request:
    """What the command line asks for; lists are still text.

    Args:
        subject: A recognizer of the table, or the key of a trial, or how it begins.
        asked: Values of `DRAWN`, `LEARNT`, `OF_FILE` and `METHOD` that a person gave, by name.
        batch: Batches, separated by commas.
        dtype: Data types, separated by commas.
        threads: Of every variant.
        repeats: Rounds.
        variants: Names, separated by commas; "" for all.
        runs: Where trials lie.
        data_root: Where data sets of clips lie.
        layers: Time layers, not variants.
        checkpoint: Weights whose learnt routes are timed; None: those of a trial, or drawn routes.
    """

    subject: str
    asked: Mapping[str, Any]
    batch: str
    dtype: str
    threads: int
    repeats: int
    variants: str
    runs: Path
    data_root: Path | None
    layers: bool = False
    checkpoint: Path | None = None

    @property
    def is_trial(self) -> bool:
        """Whether a trial is meant: its key is hexadecimal, and no recognizer is called so."""
        from registry.tables import RECOGNIZERS

        is_key = re.fullmatch("[0-9a-f]+", self.subject) is not None
        return is_key and self.subject not in RECOGNIZERS

    @property
    def values(self) -> dict[str, Any]:
        """What was asked for, the rest by default."""
        return DRAWN | LEARNT | OF_FILE | METHOD | dict(self.asked)


def checked(request: Request) -> Options:
    """Return the options a request stands for.

    Raises:
        UserError: With every mistake, the choices and the nearest match.
    """
    from registry.bench.bout import Options
    from registry.bench.routes import AXES
    from registry.bench.timing import Pace
    from registry.bench.variants import DTYPES, VARIANTS, chosen
    from registry.tables import RECOGNIZERS

    dtypes, variants = _items(request.dtype), _items(request.variants)
    values = request.values
    problems = [
        *_unknown_subject(request, RECOGNIZERS),
        *_out_of_place(request),
        *_unknown("scale", [values["scale"]], get_args(Scale)),
        *_unknown("axes", [values["axes"]], AXES),
        *_unknown("choice of --gate-layers", [values["gate-layers"]], GATE_LAYERS),
        *_unknown("data type", dtypes, DTYPES),
        *_unknown("variant", variants, VARIANTS),
        *_out_of_range(request),
    ]
    if problems:
        raise UserError("\n  ".join(problems))
    return Options(
        saving=values["saving"],
        axes=values["axes"],
        num_routes=values["seeds"],
        num_clips=values["clips"],
        batches=tuple(dict.fromkeys(map(int, _items(request.batch)))),
        dtypes=tuple(dict.fromkeys(dtypes)),
        num_threads=request.threads,
        variants=chosen(variants),
        pace=Pace(num_rounds=request.repeats),
    )


def _items(text: str) -> list[str]:
    return [item for item in (part.strip() for part in text.split(",")) if item]


def _unknown(kind: str, names: Sequence[str], choices: Any) -> Iterator[str]:
    for name in names:
        if name not in choices:
            hint = nearest(name, choices)
            yield f"unknown {kind} {name!r}.{hint} Choices: {', '.join(choices)}"


def _unknown_subject(request: Request, recognizers: Any) -> Iterator[str]:
    if not request.is_trial:
        for text in _unknown("recognizer", [request.subject], recognizers):
            yield f"{text}, or the key of a trial"


def _out_of_place(request: Request) -> Iterator[str]:
    if request.layers:
        yield from _idle_for_layers(request)
    if request.is_trial and request.checkpoint is not None:
        yield f"`--checkpoint` needs a recognizer's name, but {request.subject!r} is a trial's key"
    foreign, why = _foreign(request)
    for name in request.asked:
        if name in foreign:
            yield f"`--{name}` cannot be chosen for {request.subject!r}: {why}"


def _foreign(request: Request) -> tuple[Collection[str], str]:
    """What cannot be chosen here, and why."""
    if request.is_trial:
        return DRAWN | OF_FILE | METHOD, "the clips, gates and routes of a trial are its own"
    if request.checkpoint is not None:
        return _OF_ROUTES, "the gates in the file decide"
    return LEARNT | OF_FILE, "only a trial or a --checkpoint has learnt routes"


def _idle_for_layers(request: Request) -> Iterator[str]:
    idle = [name for name in (*_OF_ROUTES, "clips") if name in request.asked]
    idle += ["batch"] * (request.batch != "1") + ["variants"] * (request.variants != "")
    for name in idle:
        yield f"`--{name}` means nothing with --layers: each layer runs one clip by itself"
    if len(_items(request.dtype)) > 1:
        yield f"`--dtype` must name one data type with --layers, but got {request.dtype!r}"


def _out_of_range(request: Request) -> Iterator[str]:
    values = request.values
    if not 0 < values["saving"] < 1:
        yield f"`--saving` must be in (0, 1), but got {values['saving']:g}"
    for name in ("batch", "dtype"):
        if not _items(getattr(request, name)):
            yield f"`--{name}` must name at least one"
    for item in _items(request.batch):
        if not item.isascii() or not item.isdigit() or int(item) < 1:
            yield f"`--batch` must be numbers of at least 1, such as 1,8, but got {item!r}"
    numbers = {"threads": request.threads, "repeats": request.repeats}
    numbers |= {name: values[name] for name in ("seeds", "clips")}
    for name, value in numbers.items():
        if value < 1:
            yield f"`--{name}` must be at least 1, but got {value}"
