"""What can befall calls on a real cluster: none is lost, none runs twice to its end."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.executor import Resources, State
from jobs.options import SlurmOptions
from jobs.slurm.executor import SlurmExecutor
from jobs.slurm.ticket import Ticket, told, write_ticket
from jobs.slurm.worker import MAX_FRUITLESS
from jobs.testing import call, echo
from jobs.testing_calls import Driver, Steps, grow
from jobs.worker import ENDING_SIGNALS


@pytest.fixture
def submissions(tmp_path):
    """Where the executors of a test write down what they submit."""
    return tmp_path / "submissions"


@pytest.fixture
def executor(slurm, submissions):
    """Return executors; a test may need several kinds."""
    return lambda **options: SlurmExecutor(submissions, SlurmOptions(**options))


def node_of(slurm, job):
    return slurm.run("squeue", "-h", "-j", job, "-o", "%N")


def fill(slurm, node, partition, until_file):
    """Take all of a node until a file is there."""
    script = f"until [ -e {until_file} ]; do sleep 0.2; done"
    options = ("-c2", f"--partition={partition}", f"--nodelist={node}", "--output=/dev/null")
    return slurm.run("sbatch", "--parsable", *options, f"--wrap={script}")


def stop_controller(slurm):
    as_root = ["sudo", "-n", "env", f"SLURM_CONF={slurm.conf}"] if os.geteuid() else []
    slurm.run(*as_root, "scontrol", "shutdown", "slurmctld")


def num_submissions(submissions):
    return len(list(submissions.glob("*/submission.json")))


def test_slow_stories_side_by_side(slurm, executor, submissions, tmp_path):
    """Each takes up to two minutes of waiting for SLURM, so they wait together."""
    stories = (
        time_runs_out,
        processes_die,
        cancelled_by_hand,
        what_can_never_run,
        a_ticket_that_never_reached_slurm,
        signals_while_it_saves,
    )
    with ThreadPoolExecutor(len(stories)) as pool:
        told = {
            story.__name__: pool.submit(story, slurm, executor, tmp_path / story.__name__)
            for story in stories
        }
    errors = {name: error for name, story in told.items() if (error := story.exception())}
    for error in errors.values():
        raise error
    slurm.until(lambda: not slurm.jobs())


def time_runs_out(slurm, executor, place):
    """A call that is told goes on in the same job; one that is deaf is ended and tried again."""
    minute = Resources(time_min=1)
    hears = Steps(place, "hears", number=4, gates=[1, 2], resources=minute)
    deaf = Steps(place, "deaf", deaf=1, resources=minute)
    driver = Driver(executor(signal_s=59), [hears.call, deaf.call])
    slurm.until(lambda: hears.waits_at(1))
    first_job = hears.job
    slurm.until(lambda: hears.waits_at(1, attempt=2))
    hears.let(1)
    slurm.until(lambda: hears.waits_at(2, attempt=2))
    # the second time as SLURM does, without the wait
    slurm.run("scancel", "--signal=USR2", hears.job)
    slurm.until(lambda: hears.waits_at(2, attempt=3))
    hears.let(2)
    slurm.until(lambda: deaf.waits_at(1, attempt=2), seconds=240)
    deaf.let(1)
    ended = driver.outcomes()
    hears.check_done(ended["hears"], began=[0, 1, 2])
    assert [a.job for a in hears.attempts] == [first_job] * 3
    assert [a.reason for a in hears.attempts] == ["SIGUSR2", "SIGUSR2", ""]
    deaf.check_done(ended["deaf"], began=[0, 1])
    assert [a.ending for a in deaf.attempts] == [None, "returned"]


def processes_die(slurm, executor, place):
    """Killed, a call runs again, unless it comes to nothing time after time."""
    once, hopeless = Steps(place, "once"), Steps(place, "hopeless", gates=[0])
    driver = Driver(executor(), [once.call, hopeless.call])
    slurm.until(lambda: once.waits_at(1))
    once.kill()
    once.let(1)
    for attempt in range(1, MAX_FRUITLESS + 1):
        slurm.until(lambda n=attempt: hopeless.waits_at(0, attempt=n))
        hopeless.kill()
    ended = driver.outcomes()
    once.check_done(ended["once"], began=[0, 1])
    assert ended["hopeless"].state is State.FAILED
    assert f"GivenUp: {MAX_FRUITLESS} attempts" in ended["hopeless"].error
    assert [a.fruitless for a in hopeless.attempts] == [True] * MAX_FRUITLESS


def cancelled_by_hand(slurm, executor, place):
    """Running or waiting, it is stopped; asked for again, it goes on from what it saved."""
    runs, waits = Steps(place, "runs"), Steps(place, "waits")
    driver = Driver(executor(), [runs.call])
    held_driver = Driver(executor(sbatch={"hold": True}), [waits.call])
    slurm.until(lambda: runs.waits_at(1) and waits.folder.joinpath("ticket.json").exists())
    slurm.until(lambda: waits.job in slurm.jobs())
    slurm.run("scancel", runs.job, waits.job)
    ended = driver.outcomes() | held_driver.outcomes()
    for one in (runs, waits):
        assert ended[one.call.name].state is State.STOPPED
        assert "cancelled" in ended[one.call.name].error
        one.let(1)
    again = Driver(executor(), [runs.call, waits.call]).outcomes()
    runs.check_done(again["runs"], began=[0, 1])
    waits.check_done(again["waits"], began=[0])


def what_can_never_run(slurm, executor, place):
    """It fails, naming what to change, and its job is gone."""
    big = call("big", grow, {"memory_gb": 0.6}, Resources(memory_gb=0.3))
    wide = call("wide", echo, {"value": 1}, Resources(cpus=4 * slurm.cpus_per_node + 1))
    ended = Driver(executor(), [big, wide]).outcomes()
    assert {outcome.state for outcome in ended.values()} == {State.FAILED}
    assert "OutOfMemory" in ended["big"].error and "`resources: memory_gb`" in ended["big"].error
    assert "Impossible" in ended["wide"].error and "9 cpus" in ended["wide"].error


def a_ticket_that_never_reached_slurm(slurm, executor, place):
    """Its process died before sbatch, long ago: it is submitted."""
    unsent = Steps(place, "unsent", gates=[])
    long_ago = time.time() - 3600
    ticket = Ticket(place / "submission", -1, long_ago, 0, told(unsent.call))
    write_ticket(unsent.folder, ticket)
    ended = Driver(executor(), [unsent.call]).outcomes()
    unsent.check_done(ended["unsent"], began=[0])
    assert unsent.attempts[0].job


def signals_while_it_saves(slurm, executor, place):
    """A time limit and a preemption may both announce themselves; once is enough."""
    saving = Steps(place, "saving", deaf=1)
    driver = Driver(executor(), [saving.call])
    slurm.until(lambda: saving.waits_at(1))
    for _ in range(3):
        slurm.run("scancel", "--signal=USR2", saving.job)
    saving.let(1)
    saving.check_done(driver.outcomes()["saving"], began=[0, 2])


@pytest.mark.parametrize("partition", ["grace", "low"])
def test_a_preempted_call_runs_again_and_keeps_what_it_saved(slurm, executor, tmp_path, partition):
    pushed = Steps(tmp_path, "pushed")
    pushing_ended = tmp_path / "pushing ended"
    driver = Driver(executor(partition=partition), [pushed.call])
    slurm.until(lambda: pushed.waits_at(1))
    pushing = fill(
        slurm, node_of(slurm, pushed.job), slurm.high, str(pushing_ended).replace(" ", r"\ ")
    )
    slurm.until(lambda: slurm.jobs().get(pushing) == "RUNNING")
    slurm.until(lambda: pushed.waits_at(1, attempt=2))
    pushing_ended.touch()
    pushed.let(1)
    ended = driver.outcomes()
    pushed.check_done(ended["pushed"], began=[0, 1])
    assert len({a.job for a in pushed.attempts}) == 1
    assert pushed.attempts[0].reason in [number.name for number in ENDING_SIGNALS]


def test_calls_of_a_lost_node_run_again_elsewhere(slurm, executor, tmp_path):
    """Put back into the queue by SLURM, or where it may not do that, submitted again."""
    requeued, submitted = Steps(tmp_path, "requeued"), Steps(tmp_path, "submitted")
    driver = Driver(executor(), [requeued.call])
    slurm.until(lambda: requeued.waits_at(1))
    lost = node_of(slurm, requeued.job)
    once = executor(sbatch={"no-requeue": True})
    other_driver = Driver(once, [submitted.call])
    slurm.until(lambda: submitted.waits_at(1))
    lost_nodes = {lost, node_of(slurm, submitted.job)}
    jobs = requeued.job, submitted.job
    for node in lost_nodes:
        slurm.kill_node(node)
    for one in (requeued, submitted):
        slurm.until(lambda one=one: one.waits_at(1, attempt=2))
        one.let(1)
    requeued.check_done(driver.outcomes()["requeued"], began=[0, 1])
    submitted.check_done(other_driver.outcomes()["submitted"], began=[0, 1])
    assert [a.job for a in requeued.attempts] == [jobs[0]] * 2
    assert submitted.attempts[0].job == jobs[1] != submitted.attempts[1].job


def test_calls_outlast_the_controller(slurm, executor, submissions, tmp_path):
    """They run on while it is away, and those asked for meanwhile are submitted later."""
    running = [Steps(tmp_path, f"runs {i}", gates=[1, 2]) for i in range(3)]
    driver = Driver(executor(), [one.call for one in running])
    slurm.until(lambda: all(one.waits_at(1) for one in running))
    stop_controller(slurm)
    late = Steps(tmp_path, "late", gates=[])
    late_driver = Driver(executor(), [late.call])
    for one in running:
        one.let(1)
    slurm.until(lambda: all(one.waits_at(2) for one in running))
    slurm.restart_controller()
    for one in running:
        one.let(2)
    ended = driver.outcomes() | late_driver.outcomes()
    for one in (*running, late):
        one.check_done(ended[one.call.name], began=[0])
    assert num_submissions(submissions) == 2


def test_a_job_put_back_into_the_queue_after_its_end_does_nothing(slurm, executor, tmp_path):
    """Whether its call has ended, or another job runs it."""
    done, cancelled = Steps(tmp_path, "done", gates=[]), Steps(tmp_path, "cancelled")
    executor().submit([done.call, cancelled.call])
    slurm.until(lambda: cancelled.waits_at(1))
    first = {one.job: "COMPLETED" for one in (done, cancelled)}
    slurm.run("scancel", cancelled.job)
    slurm.until(lambda: not slurm.jobs())
    driver = Driver(executor(), [cancelled.call])
    slurm.until(lambda: cancelled.waits_at(1, attempt=2))
    slurm.run("scontrol", "requeue", ",".join(first))
    array = done.job.partition("_")[0]
    slurm.until(lambda: slurm.accounts_of(array) == first)
    assert (done.began, done.completed) == ([0], 1)
    cancelled.let(1)
    cancelled.check_done(driver.outcomes()["cancelled"], began=[0, 1])
