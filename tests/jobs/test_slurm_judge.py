"""What a call is thought to be doing, from what its folder and the scheduler say; no cluster."""

import subprocess
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.attempts import Attempt, Running, fruitless_in_a_row, read_attempts
from jobs.slurm import client
from jobs.slurm.client import ENDED, IMPOSSIBLE, WAITING, Seen, SlurmError, accounted, queued
from jobs.slurm.judge import ALIVE_S, REGISTER_S, SETTLE_S, VISIBLE_S, Signs, Verdict, judge

FINAL = {Verdict.LOST, Verdict.CANCELLED, Verdict.OUT_OF_MEMORY, Verdict.IMPOSSIBLE}
NEVER_HEARD_OF = ("RESIZING", "SIGNALING", "STAGE_OUT", "ODD")
ALIVE = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", *NEVER_HEARD_OF)

seconds = st.floats(min_value=0, max_value=1e6) | st.just(float("inf"))
states = st.sampled_from(sorted(WAITING | ENDED | set(ALIVE)))
reasons = st.sampled_from(["", "Priority", "Resources", "BeginTime", *sorted(IMPOSSIBLE)])
signs = st.builds(
    Signs,
    asked=st.booleans(),
    seen=st.none() | st.builds(Seen, state=states, reason=reasons),
    since_beat_s=seconds,
    since_submitted_s=seconds,
    same_for_s=seconds,
    out_of_memory=st.booleans(),
)


def patience(seen):
    """A job that ended well has an outcome, which a file system may show late."""
    return VISIBLE_S if seen and seen.state == "COMPLETED" else SETTLE_S


@given(signs)
def test_a_call_is_given_up_only_if_silent_answered_for_settled_and_ended(given_signs):
    verdict = judge(given_signs)
    seen = given_signs.seen
    over = (
        given_signs.since_submitted_s >= REGISTER_S
        if seen is None
        else seen.state in ENDED or (seen.state in WAITING and seen.reason in IMPOSSIBLE)
    )
    certain = (
        given_signs.asked
        and given_signs.since_beat_s >= ALIVE_S
        and given_signs.same_for_s >= patience(seen)
    )
    assert (verdict in FINAL) == (certain and over)


@given(signs, st.floats(min_value=0, max_value=ALIVE_S, exclude_max=True))
def test_who_lives_runs_whatever_the_scheduler_says(given_signs, since_beat_s):
    assert judge(replace(given_signs, since_beat_s=since_beat_s)) is Verdict.RUNS


@given(signs)
def test_a_silent_scheduler_decides_nothing(given_signs):
    verdict = judge(replace(given_signs, asked=False))
    assert verdict in (Verdict.RUNS, Verdict.UNKNOWN)


@given(signs, st.sampled_from(NEVER_HEARD_OF))
def test_states_never_heard_of_are_no_death(given_signs, state):
    assert judge(replace(given_signs, seen=Seen(state))) not in FINAL


@pytest.mark.parametrize(
    ("state", "out_of_memory", "verdict"),
    [
        ("CANCELLED", False, Verdict.CANCELLED),
        ("CANCELLED", True, Verdict.CANCELLED),
        ("OUT_OF_MEMORY", False, Verdict.OUT_OF_MEMORY),
        ("FAILED", True, Verdict.OUT_OF_MEMORY),
        ("FAILED", False, Verdict.LOST),
        ("NODE_FAIL", False, Verdict.LOST),
        ("TIMEOUT", False, Verdict.LOST),
        ("PREEMPTED", False, Verdict.LOST),
        ("COMPLETED", False, Verdict.LOST),
    ],
)
def test_each_end_has_its_name(state, out_of_memory, verdict):
    infinite = float("inf")
    after = patience(Seen(state))
    settled = Signs(True, Seen(state), infinite, infinite, after, out_of_memory)
    assert judge(settled) is verdict
    assert judge(replace(settled, same_for_s=after - 0.1)) is Verdict.RUNS


def answering(monkeypatch, text="", error=""):
    """Let any command print a text, or fail with an error; return what was asked."""
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, bool(error), text, error)

    monkeypatch.setattr(client.subprocess, "run", run)
    return asked


def test_squeue_is_understood(monkeypatch):
    lines = "12_0|RUNNING|None\n12_1|PENDING|JobArrayTaskLimit\n7|PENDING|(odd|reason)\n"
    answering(monkeypatch, lines)
    assert queued(["a"]) == {
        "12_0": Seen("RUNNING"),
        "12_1": Seen("PENDING", "JobArrayTaskLimit"),
        "7": Seen("PENDING", "(odd|reason)"),
    }


def test_sacct_is_understood(monkeypatch):
    answering(monkeypatch, "12_0|CANCELLED by 0\n12_1|COMPLETED\n7|OUT_OF_MEMORY\n8|CANCELLED\n")
    assert accounted(["12", "7", "8"]) == {
        "12_0": Seen("CANCELLED", by="0"),
        "12_1": Seen("COMPLETED"),
        "7": Seen("OUT_OF_MEMORY"),
        "8": Seen("CANCELLED"),
    }


def test_without_accounting_nothing_is_known_and_other_complaints_are_passed_on(monkeypatch):
    answering(monkeypatch, error="Slurm accounting storage is disabled")
    assert accounted(["12"]) == {}
    answering(monkeypatch, error="sacct: error: Connection refused")
    with pytest.raises(SlurmError, match="Connection refused"):
        accounted(["12"])


@given(st.integers(0, 1200))
def test_questions_are_few_and_none_is_too_long(number):
    with pytest.MonkeyPatch.context() as monkeypatch:
        asked = answering(monkeypatch)
        names = [f"job-{i}" for i in range(number)]
        assert queued(names) == {}
    listed = [one.removeprefix("--name=") for words in asked for one in words if "--name=" in one]
    assert sorted(name for names in listed for name in names.split(",")) == sorted(names)
    assert len(asked) == -(-number // 500)


endings = st.sampled_from([None, "returned", "failed", "interrupted"])


@given(st.lists(st.tuples(endings, st.integers(0, 2), st.integers(0, 2))))
def test_only_attempts_in_a_row_that_came_to_nothing_count(told):
    attempts = [
        Attempt(i + 1, "host", 1, 0.0, began_with=before, saved=before + more, ending=ending)
        for i, (ending, before, more) in enumerate(told)
    ]
    useful = [a.saved > a.began_with or a.ending in ("returned", "failed") for a in attempts]
    # as far from the end as the last useful one
    last = max((i for i, one in enumerate(useful) if one), default=-1)
    assert fruitless_in_a_row(attempts) == len(attempts) - 1 - last


def _claim(folder):
    running = Running(folder)
    running.end("returned")
    return running.attempt.number


def test_processes_that_begin_at_once_are_different_attempts(tmp_path):
    number = 8
    with ProcessPoolExecutor(2) as pool:
        numbers = list(pool.map(_claim, [tmp_path] * number))
    assert sorted(numbers) == list(range(1, number + 1))
    assert [attempt.number for attempt in read_attempts(tmp_path)] == sorted(numbers)
