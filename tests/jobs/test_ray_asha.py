from types import SimpleNamespace

import pytest

from jobs.options import AshaOptions
from jobs.ray.asha import GroupAsha

CONTINUE, STOP = GroupAsha.CONTINUE, GroupAsha.STOP


@pytest.fixture
def ask():
    """A scheduler of four trials in two groups, and how it judges trial i at report t."""
    options = AshaOptions(metric="loss", mode="min", max_t=8, grace_period=2, reduction_factor=2)
    scheduler = GroupAsha(options, "reported/loss", ["a", "a", "b", "b"])
    trials = [SimpleNamespace(trial_id=str(i), config={"index": i}) for i in range(4)]
    for trial in trials:
        scheduler.on_trial_add(None, trial)

    def judge(i, t, **reported):
        result = {f"reported/{name}": value for name, value in reported.items()}
        return scheduler.on_trial_result(None, trials[i], {"training_iteration": t, **result})

    return judge


def test_the_worse_of_a_group_is_stopped(ask):
    assert ask(0, 2, loss=1.0) == CONTINUE
    assert ask(1, 2, loss=2.0) == STOP


def test_groups_never_compete(ask):
    assert ask(0, 2, loss=1.0) == CONTINUE
    assert ask(2, 2, loss=9.0) == CONTINUE
    assert ask(3, 2, loss=8.0) == CONTINUE
    assert ask(1, 2, loss=0.5) == CONTINUE


def test_nobody_is_judged_in_the_grace_period_or_at_the_end(ask):
    ask(0, 1, loss=1.0)
    assert ask(1, 1, loss=9.0) == CONTINUE
    ask(0, 8, loss=1.0)
    assert ask(1, 8, loss=9.0) == CONTINUE


def test_reports_without_the_metric_are_not_judged(ask):
    ask(0, 2, loss=1.0)
    assert ask(1, 2, learning_rate=9.0) == CONTINUE
