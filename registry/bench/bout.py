"""Bout: all variants of one subject at one batch: made, checked, timed, judged.

Shape legend: N clips of a batch, L layers, A loads, B rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..recognizers.forward import recognizer_forward
from .contender import Contender
from .headline import Headline, Measured, headline
from .loads import Load, drawn, learnt
from .memory import peak_mb, resident_mb
from .result import LeftOut, Manner, RouteTime, Row
from .routes import RouteAxes
from .runners import Runner
from .subject import Subject
from .timing import Pace, Seconds, interleave
from .variants import DTYPES, STOCK, Variant, chosen

TOLERANCES = {"float32": 1e-4, "bfloat16": 3e-2}
"""Largest difference to the float32 reference, over the reference's largest score. bfloat16 keeps 8
bits of a number; what that does to a class is not seen here."""

Tell = Callable[[str, int, int], None]
"""Hears what is going on, and how much of how much is done."""


@dataclass(frozen=True)
class Options:
    """What to time.

    Args:
        saving: Nominal saving of every drawn route, a share of the dense multiply-adds.
        axes: What routes reduce.
        num_routes: Sets of drawn routes; each has one a clip.
        num_clips: Validation clips, where routes are learnt.
        batches: Numbers of clips at once.
        dtypes: Names of data types.
        num_threads: Threads of every variant.
        variants: Who takes part.
        pace: How often.
    """

    saving: float = 0.35
    axes: RouteAxes = "both"
    num_routes: int = 3
    num_clips: int = 16
    batches: tuple[int, ...] = (1,)
    dtypes: tuple[str, ...] = ("float32",)
    num_threads: int = 1
    variants: tuple[Variant, ...] = chosen(())
    pace: Pace = Pace(num_rounds=11)


class Bout:
    """All variants of one subject at one batch.

    Args:
        subject: What is timed.
        options: How.
        batch: Clips at once.
        tell: Hears how far it is.

    Raises:
        ValueError: The saving cannot be met, or there are too few validation clips.
    """

    def __init__(self, subject: Subject, options: Options, batch: int, tell: Tell) -> None:
        self.subject = subject
        self.options = options
        self.batch = batch
        self.tell = tell
        self.loads = self._loads()
        self.left_out: list[LeftOut] = []
        self._references: dict[tuple[bool, int], Tensor] = {}

    def run(self) -> tuple[list[Row], list[Headline]]:
        """Make, check, time and judge."""
        contenders = list(self._contenders())
        seconds = self._time(contenders)
        rows = [self._row(one, times) for one, times in zip(contenders, seconds, strict=True)]
        return rows, list(self._headlines(contenders, seconds))

    def _loads(self) -> list[Load]:
        options = self.options
        if self.subject.validation is not None:
            return learnt(self.subject, self.batch, options.num_clips)
        return drawn(self.subject, self.batch, options.saving, options.axes, options.num_routes)

    def _contenders(self) -> Iterator[Contender]:
        """Those that can be made and agree with their reference."""
        wanted = [
            (variant, dtype)
            for variant in self.options.variants
            for dtype in DTYPES
            if dtype in self.options.dtypes or (variant.name, dtype) == (STOCK, "float32")
        ]
        for done, (variant, dtype) in enumerate(wanted):
            self.tell(f"making and checking {variant.name} in {dtype}", done, len(wanted))
            both = self.batch > 1 and not variant.is_adaptive
            manners: tuple[Manner, ...] = ("batch", "loop") if both else ("batch",)
            for manner in manners:
                contender = self._ready(variant, dtype, manner)
                if contender is not None:
                    yield contender

    def _ready(self, variant: Variant, dtype: str, manner: Manner) -> Contender | None:
        reason = f"it does not compute in {dtype}" if dtype not in variant.dtypes else ""
        reason = reason or variant.why_not()
        if reason:
            self._leave_out(variant, dtype, reason)
            return None
        before = resident_mb()
        try:
            contender = Contender(variant, dtype, manner, self._make(variant, dtype, manner))
            self._check(contender)
        except Exception as error:  # whatever another's compiler raises: the others go on
            lines = str(error).strip().splitlines() or ["no message"]
            self._leave_out(variant, dtype, f"{type(error).__name__}: {lines[0]}")
            return None
        if not contender.error <= TOLERANCES[dtype]:  # so that NaN disagrees
            reason = f"differs by {contender.error:.1e}, more than {TOLERANCES[dtype]:.0e}"
            self._leave_out(variant, dtype, reason, disagrees=True)
            return None
        after = resident_mb()
        contender.kept_mb = None if before is None or after is None else max(0.0, after - before)
        contender.peak_mb = peak_mb(self._tasks(contender)[0])
        return contender

    def _leave_out(
        self, variant: Variant, dtype: str, reason: str, *, disagrees: bool = False
    ) -> None:
        left = LeftOut(variant.name, dtype, self.batch, disagrees, reason)
        if left not in self.left_out:
            self.left_out.append(left)

    def _make(self, variant: Variant, dtype: str, manner: Manner) -> Runner:
        recognizer = self.subject.adaptive if variant.is_adaptive else self.subject.dense
        clips = self.loads[0].clips
        example = clips if manner == "batch" else clips[:1]
        return variant.make(recognizer, example, DTYPES[dtype])

    def _check(self, one: Contender) -> None:
        """Compare it with the reference on all loads, and ask what it executed."""
        for number, load in enumerate(self._loads_of(one)):
            scores = one.scores(load)
            counted = one.runner.executed
            macs = self._nominal(one)[number] if counted is None else np.mean(counted())
            one.executed.append(float(macs))
            reference = self._reference(one.is_dense, number)
            one.error = float(np.fmax(one.error, difference(scores, reference)))
            if not torch.isfinite(scores).all():
                one.error = float("nan")
                return

    def _loads_of(self, one: Contender) -> list[Load]:
        """A dense recognizer takes as long for every load."""
        return self.loads[:1] if one.is_dense else self.loads

    def _reference(self, is_dense: bool, number: int) -> Tensor:
        """Stock in float32; of an adaptive one, every layer in full, masked and rebuilt."""
        key = (is_dense, number)
        if key not in self._references:
            policy, load = self.subject.policy, self.loads[number]
            if is_dense:
                self._references[key] = _scores(self.subject.dense, load.clips)
            else:
                policy.routes, policy.skip = load.routes_NL2, False
                self._references[key] = _scores(self.subject.adaptive, load.clips)
                policy.routes, policy.skip = None, True
        return self._references[key]

    def _nominal(self, one: Contender) -> Seconds:
        """Nominal multiply-adds a clip (A,)."""
        if one.is_dense:
            return np.array([float(self.subject.dense_macs)])
        return np.array([load.nominal for load in self.loads])

    def _tasks(self, one: Contender) -> list[Callable[[], object]]:
        return [partial(one.scores, load) for load in self._loads_of(one)]

    def _time(self, contenders: list[Contender]) -> list[Seconds]:
        """Seconds (A, B) of each contender."""
        tasks = {
            (index, number): task
            for index, one in enumerate(contenders)
            for number, task in enumerate(self._tasks(one))
        }
        pace = self.options.pace
        total = pace.num_warm + pace.num_rounds
        taken = interleave(
            tasks, pace, lambda done: self.tell(f"rounds at batch {self.batch}", done, total)
        )
        return [
            np.stack([taken[index, number] for number in range(len(self._loads_of(one)))])
            for index, one in enumerate(contenders)
        ]

    def _row(self, one: Contender, seconds_AB: Seconds) -> Row:
        nominal_A, ms_AB = self._nominal(one), 1e3 * seconds_AB
        routes = tuple(
            RouteTime(float(np.median(ms_B)), float(nominal), executed)
            for ms_B, nominal, executed in zip(ms_AB, nominal_A, one.executed, strict=True)
        )
        p50 = float(np.median(ms_AB))
        return Row(
            variant=one.variant.name,
            dtype=one.dtype,
            batch=self.batch,
            manner=one.manner,
            is_dense=one.is_dense,
            ms_p50=p50,
            ms_p95=float(np.percentile(ms_AB, 95)),
            clips_per_s=1e3 * self.batch / p50,
            peak_mb=one.peak_mb,
            kept_mb=one.kept_mb,
            nominal_macs=float(nominal_A.mean()),
            executed_macs=float(np.mean(one.executed)),
            error=one.error,
            num_rounds=ms_AB.shape[1],
            routes=() if one.is_dense else routes,
        )

    def _headlines(self, contenders: list[Contender], seconds: list[Seconds]) -> Iterator[Headline]:
        measured = [
            (one, self._measured(one, times))
            for one, times in zip(contenders, seconds, strict=True)
        ]
        stock = [m for c, m in measured if (c.variant.name, c.dtype) == (STOCK, "float32")]
        for one, its in measured:
            if not one.is_dense:
                dense = [(c, m) for c, m in measured if c.dtype == one.dtype and c.is_dense]
                own = [m for c, m in dense if c.variant.name == one.variant.own_dense]
                place = (one.variant.name, one.dtype, self.batch)
                yield headline(its, place, own, [m for _, m in dense], stock)

    def _measured(self, one: Contender, seconds_AB: Seconds) -> Measured:
        measured = Measured(one.label, seconds_AB, self._nominal(one), np.array(one.executed))
        # learnt routes save more on one clip than on another, and some nothing: the sample counts
        return measured if self.subject.validation is None else measured.pooled()


def difference(scores: Tensor, reference: Tensor) -> float:
    """Return the largest difference, over the reference's largest absolute score."""
    return float((scores - reference).abs().max() / reference.abs().max())


def _scores(recognizer: torch.nn.Module, clips: Tensor) -> Tensor:
    with torch.no_grad():
        return recognizer_forward(recognizer, clips)
