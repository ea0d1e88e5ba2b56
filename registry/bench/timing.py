"""Interleaved rounds: in each round every task runs once, in an order drawn anew.

So a drift of the machine hits all tasks alike, and ratios are taken within a round.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Pace:
    """How often tasks run.

    Args:
        num_rounds: Rounds that count.
        num_warm: Rounds before them that do not.
        seed: Of the order within a round.
    """

    num_rounds: int
    num_warm: int = 2
    seed: int = 0


def interleave(
    tasks: Mapping[_Key, Callable[[], object]],
    pace: Pace,
    on_round: Callable[[int], None] = lambda done: None,
    clock: Callable[[], float] = time.perf_counter,
    group: Callable[[_Key], Hashable] = lambda key: None,
) -> dict[_Key, Seconds]:
    """Run all tasks round by round.

    Args:
        tasks: What to time, by name.
        pace: How often.
        on_round: Hears the number of rounds done, the warm ones included.
        clock: Seconds that only grow.
        group: Of a name; tasks of one group run one after the other, where only ratios among them
            matter and a round takes seconds.

    Returns:
        Seconds of each counted round, by name; the same index is the same round.
    """
    order, chance = list(tasks), random.Random(pace.seed)
    taken: dict[_Key, list[float]] = {key: [] for key in order}
    for done in range(pace.num_warm + pace.num_rounds):
        chance.shuffle(order)
        groups = list(dict.fromkeys(map(group, order)))
        for key in sorted(order, key=lambda key: groups.index(group(key))):
            start = clock()
            tasks[key]()
            taken[key].append(clock() - start)
        on_round(done + 1)
    return {key: np.array(seconds[pace.num_warm :]) for key, seconds in taken.items()}
