import os
from pathlib import Path

import pytest

from jobs.executor import Call, Resources, State
from jobs.options import AshaOptions, RayOptions
from jobs.ray.executor import RayExecutor
from jobs.testing import ExecutorContract, call, die, echo, spoil, wait_for

ELSEWHERE = """
import os

def look(payload, worker):
    return os.getcwd(), dict(os.environ)
"""


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """Ray on two cores, and a target that only this process's import path leads to."""
    folder = tmp_path_factory.mktemp("look")
    (folder / "elsewhere.py").write_text(ELSEWHERE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("SLURM_JOB_ID", "1")
        patch.setenv("OMP_NUM_THREADS", "64")
        with RayExecutor(folder, RayOptions(num_cpus=2)) as owner:
            assert [
                outcome.value for outcome in owner.run([call("first", echo, {"value": 1})])
            ] == [1]
            assert os.environ["OMP_NUM_THREADS"] == "64"
            yield "elsewhere:look"
    import ray

    assert not ray.is_initialized()


def never(folder):
    return {"started": str(folder / "started"), "go": str(folder / "never")}


@pytest.mark.usefixtures("look")
class TestRay(ExecutorContract):
    concurrent = 2

    @pytest.fixture
    def executor(self, tmp_path):
        with RayExecutor(tmp_path / "a'; echo foo\n%20#?") as executor:
            yield executor


def test_workers_are_at_home_within_their_cores_and_the_lost_are_told(look, tmp_path):
    calls = [
        Call("looks", look, {}, Resources(cpus=2)),
        call("dies", die),
        call("late", wait_for, never(tmp_path), Resources(time_min=0)),
    ]
    by_name = {o.call.name: o for o in RayExecutor(tmp_path).run(calls)}
    folder, environ = by_name["looks"].value
    assert Path(folder) == Path.cwd()
    assert "SLURM_JOB_ID" not in environ
    assert environ["OMP_NUM_THREADS"] == environ["OPENBLAS_NUM_THREADS"] == "2"
    assert by_name["dies"].state is by_name["late"].state is State.FAILED
    assert "died" in by_name["dies"].error
    assert by_name["late"].error == "Killed at its limit of 0 min."


@pytest.mark.usefixtures("look")
def test_the_weak_of_a_group_are_stopped_with_their_last_report(tmp_path):
    asha = AshaOptions(metric="score", mode="max", max_t=4, reduction_factor=2)
    scores = {("only", "strong"): 9, ("first", "weak"): 1, ("worse", "weak"): 0}
    calls = [
        call(name, spoil, {"reports": [{"score": score}] * 4}, group=group)
        for (name, group), score in scores.items()
    ]
    with RayExecutor(tmp_path, RayOptions(max_concurrent=1, asha=asha)) as executor:
        outcomes = list(executor.run(calls))
    assert [(o.call.name, o.state, o.value) for o in outcomes] == [
        ("only", State.DONE, 4),
        ("first", State.DONE, 4),
        ("worse", State.STOPPED, {"score": 0}),
    ]


@pytest.mark.usefixtures("look")
def test_a_call_that_could_never_start_is_refused(tmp_path):
    calls = [call(f"on {n}", echo, resources=Resources(cpus=n)) for n in (2, 3)]
    with pytest.raises(ValueError, match=r"one machine of \[\{'CPU': 2.0.*but 'on 3' needs"):
        RayExecutor(tmp_path).run(calls)


@pytest.mark.usefixtures("look")
def test_closing_the_executor_stops_what_was_awaited(tmp_path):
    endless = call("endless", wait_for, never(tmp_path))
    executor = RayExecutor(tmp_path)
    outcomes = executor.run([call("quick", echo, {"value": 0}), endless])
    assert next(outcomes).call.name == "quick"
    executor.close()
    assert [(o.call.name, o.state) for o in outcomes] == [("endless", State.STOPPED)]


@pytest.mark.usefixtures("look")
def test_settings_of_a_connection_that_is_there_already_are_not_dropped_silently(tmp_path):
    with pytest.warns(UserWarning, match="num_cpus not used"):
        executor = RayExecutor(tmp_path, RayOptions(num_cpus=1))
        executor.run([call("a", echo)])
    executor.close()


@pytest.mark.usefixtures("look")
def test_early_stopping_by_a_metric_that_nobody_reports_is_told(tmp_path):
    asha = AshaOptions(metric="scorn", mode="max", max_t=4)
    with RayExecutor(tmp_path, RayOptions(asha=asha)) as executor:
        outcomes = executor.run([call("reports", spoil, {"reports": [{"score": 1}]})])
        with pytest.warns(UserWarning, match="No call reported `scorn`"):
            assert [outcome.state for outcome in outcomes] == [State.DONE]
