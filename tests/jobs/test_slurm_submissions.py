"""Submissions to a real cluster: refused, cut into arrays, taken over, looked at and ended."""

import math
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from jobs.attempts import read_attempts
from jobs.executor import Resources, State
from jobs.logs import follow
from jobs.options import SlurmOptions
from jobs.slurm.client import Seen, accounted
from jobs.slurm.executor import SlurmExecutor
from jobs.testing import call, fail, meet
from jobs.testing_calls import Driver, Steps, environment
from jobs.underway import end, look


@pytest.fixture
def submissions(tmp_path):
    """Where the executors of a test write down what they submit."""
    return tmp_path / "submissions"


@pytest.fixture
def executor(slurm, submissions):
    """Return executors; a test may need several kinds."""
    return lambda **options: SlurmExecutor(submissions, SlurmOptions(**options))


def most_at_once(times):
    changes = sorted([(come, 1) for come, _ in times] + [(left, -1) for _, left in times])
    return max(sum(change for _, change in changes[: i + 1]) for i in range(len(changes)))


def num_submissions(submissions):
    return len(list(submissions.glob("*/submission.json")))


def test_arrays_keep_to_their_cap_and_failures_tell_their_traceback(executor, tmp_path):
    num_calls, cap = 8, 3
    place = tmp_path / "meet"
    place.mkdir()
    # the first `cap` calls meet, hence were there at once
    calls = [call(f"meets {i}", meet, {"place": str(place), "number": cap}) for i in range(7)]
    calls.append(call("fails", fail, {"text": "größe"}))
    assert len(calls) == num_calls
    outcomes = {o.call.name: o for o in executor(max_concurrent=cap).run(calls)}
    failed = outcomes.pop("fails")
    assert failed.state is State.FAILED and "in fail" in failed.error
    assert failed.error.rstrip().endswith("ValueError: größe")
    assert {o.state for o in outcomes.values()} == {State.DONE}
    assert most_at_once([o.value for o in outcomes.values()]) <= cap


def test_accounts_tell_how_jobs_ended_once_the_queue_forgets_them(slurm, executor, tmp_path):
    calls = [call("good", meet, {"place": str(tmp_path), "number": 1}), call("bad", fail)]
    calls = [replace(one, folder=tmp_path / one.name) for one in calls]
    assert len(list(executor().run(calls))) == len(calls)
    (array,) = {attempt.job.partition("_")[0] for attempt in read_attempts(tmp_path / "good")}
    expected = {f"{array}_{index}": Seen("COMPLETED") for index in range(len(calls))}
    slurm.until(lambda: accounted([array]) == expected)


def test_more_calls_than_an_array_takes_become_several_under_one_cap(
    slurm, executor, submissions, tmp_path
):
    num_calls, cap, size = 5, 2, 3

    def check(name, **options):
        place = tmp_path / name
        place.mkdir()
        calls = [call(f"{name} {i}", meet, {"place": str(place), "number": 1}) for i in range(5)]
        before = num_submissions(submissions)
        outcomes = list(executor(max_concurrent=cap, **options).run(calls))
        assert [(o.state, o.error) for o in outcomes] == [(State.DONE, "")] * num_calls
        assert most_at_once([o.value for o in outcomes]) <= cap
        assert num_submissions(submissions) - before == math.ceil(num_calls / size)

    check("by option", max_array_size=size)
    with slurm.max_array_size(size):
        check("by the cluster")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"partition": "nope"}, "Invalid partition name specified"),
        ({"account": "nope"}, "Invalid account or account/partition combination specified"),
        ({"qos": "nope"}, "Invalid qos specification"),
        ({"constraint": "nope"}, "Invalid feature specification"),
        ({"nodelist": "nope"}, "Invalid node name specified"),
    ],
)
def test_a_mistake_in_the_options_is_told_in_slurms_words(slurm, executor, tmp_path, options, said):
    asked = Steps(tmp_path, "asked")
    with pytest.raises(ValueError, match=f"SLURM refused the job: .*{re.escape(said)}"):
        executor(**options).run([asked.call])
    assert not slurm.jobs() and not look([asked.folder])
    asked.let(1)
    outcomes = list(executor().run([asked.call]))
    asked.check_done(outcomes[0], began=[0])


DRIVER = """
import sys
from pathlib import Path
from jobs.slurm.executor import SlurmExecutor
from jobs.testing_calls import Steps
submissions, folder = map(Path, sys.argv[1:])
list(SlurmExecutor(submissions).run([Steps(folder, "orphan").call]))
"""


@pytest.mark.parametrize("knows_the_id", [True, False])
def test_whoever_comes_after_a_killed_process_takes_its_calls_over(
    slurm, executor, submissions, tmp_path, knows_the_id
):
    """Also when it died between sbatch's answer and writing the job's id down."""
    orphan = Steps(tmp_path, "orphan")
    process = subprocess.Popen([sys.executable, "-c", DRIVER, submissions, tmp_path])
    slurm.until(lambda: orphan.waits_at(1))
    process.kill()
    process.wait()
    jobs = slurm.jobs()
    if not knows_the_id:
        (written,) = submissions.glob("*/submission.json")
        written.unlink()
    driver = Driver(executor(), [orphan.call])
    slurm.until(lambda: orphan.job in jobs)
    assert slurm.jobs() == jobs
    orphan.let(1)
    orphan.check_done(driver.outcomes()["orphan"], began=[0])
    assert [a.job for a in orphan.attempts] == [*jobs]
    assert num_submissions(submissions) == 1


def test_what_is_under_way_is_seen_followed_and_ended(slurm, executor, tmp_path):
    waits, runs, runs_on = (Steps(tmp_path, name) for name in ("waits", "runs", "runs on"))
    folders = [one.folder for one in (waits, runs, runs_on)]
    assert executor(sbatch={"hold": True}).submit([waits.call]) == 1
    assert executor().submit([runs.call, runs_on.call]) == 2
    slurm.until(lambda: all(one.waits_at(1) for one in (runs, runs_on)))
    looks = look(folders)
    assert {folder: seen.state for folder, seen in looks.items()} == dict(
        zip(folders, ("waits", "runs", "runs"), strict=True)
    )
    assert looks[folders[0]].detail == "JobHeldUser"
    assert "attempt 1, step 1" in looks[folders[1]].detail
    assert [seen.job for seen in looks.values()] == [one.job for one in (waits, runs, runs_on)]
    log = looks[folders[1]].log
    assert str(log) == runs.attempts[0].log

    lines = follow(log, lambda: look(folders)[folders[1]].state == "runs")
    assert f"runs ({runs.folder}), job {runs.job}" in next(lines)
    assert end(folders[:2]) == folders[:2]
    assert "interrupted: SIGTERM; saved" in "".join(lines)
    slurm.until(lambda: set(slurm.jobs()) == {runs_on.job})
    assert [seen.state for seen in look(folders).values()] == ["cancelled", "cancelled", "runs"]

    driver = Driver(executor(), [one.call for one in (waits, runs, runs_on)])
    # what runs on must still do so when the driver looks for it
    slurm.until(lambda: waits.waits_at(1) and runs.waits_at(1, attempt=2))
    for one in (waits, runs, runs_on):
        one.let(1)
    ended = driver.outcomes()
    waits.check_done(ended["waits"], began=[0])
    runs.check_done(ended["runs"], began=[0, 1])
    runs_on.check_done(ended["runs on"], began=[0])
    assert look(folders) == {}


def test_a_call_sees_its_own_cores_and_nothing_of_the_callers_job(slurm, executor, monkeypatch):
    """As when a sweep is begun from within a job of its own."""
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_CPUS_PER_TASK", "SBATCH_PARTITION"):
        monkeypatch.setenv(name, "777")
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    calls = [call(f"{n} cpus", environment, {}, Resources(cpus=n)) for n in (1, 2)]
    for outcome in executor().run(calls):
        seen = outcome.value
        assert {name for name in seen if name.startswith(("SLURM", "SBATCH"))} == {"SLURM_CONF"}
        assert seen["SLURM_CONF"] == str(slurm.conf)
        assert seen["OMP_NUM_THREADS"] == str(outcome.call.resources.cpus)
    assert os.environ["SLURM_JOB_ID"] == "777"
