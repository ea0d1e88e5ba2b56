"""A controller that is away neither loses a submission nor gets it twice; no cluster."""

import pytest
from submitit.core.utils import FailedJobError

from jobs.executor import State
from jobs.slurm import client, submit
from jobs.slurm import executor as slurm_executor
from jobs.slurm.client import SlurmError
from jobs.slurm.judge import Verdict
from jobs.slurm.ticket import read_ticket
from jobs.testing import call, echo

AWAY = "Unable to contact slurm controller (connect failure)"


class Scheduler:
    """Answers as told, one answer a question: an exception is raised, the last answer stays."""

    def __init__(self, monkeypatch, submissions, found=("",)):
        self.submissions, self.found = list(submissions), list(found)
        self.cancelled = []
        monkeypatch.setattr(submit, "find", lambda name: self._next(self.found))
        monkeypatch.setattr(submit, "cancel", self.cancelled.extend)
        monkeypatch.setattr(submit, "max_array_size", lambda: 10)
        monkeypatch.setattr(submit.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(submit.Submitter, "_executor", lambda *_: self)

    def map_array(self, function, folders):
        job = self._next(self.submissions)
        return [Job(f"{job}_{index}") for index in range(len(folders))]

    @staticmethod
    def _next(answers):
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Job:
    def __init__(self, job_id):
        self.job_id = job_id


@pytest.fixture
def executor(tmp_path):
    return slurm_executor.SlurmExecutor(tmp_path)


@pytest.fixture
def folder(executor):
    return executor._housed(call("one", echo)).folder


def test_a_submission_is_tried_again_until_the_controller_answers(monkeypatch, executor, folder):
    found = [SlurmError(AWAY), ""]
    scheduler = Scheduler(monkeypatch, [FailedJobError(AWAY), FailedJobError(AWAY), "12"], found)
    assert executor.submit([call("one", echo)]) == 1
    assert read_ticket(folder).job == "12"
    assert not scheduler.cancelled


def test_a_job_whose_acceptance_was_not_heard_is_replaced(monkeypatch, executor, folder):
    scheduler = Scheduler(monkeypatch, [FailedJobError(AWAY), "13"], found=["12"])
    executor.submit([call("one", echo)])
    assert scheduler.cancelled == ["12"]
    assert read_ticket(folder).job == "13"


def test_a_controller_away_for_long_is_told_and_the_ticket_stays(monkeypatch, executor, folder):
    """The job may have been accepted; if not, whoever waits for the call submits it again."""
    Scheduler(monkeypatch, [FailedJobError(AWAY)])
    with pytest.raises(SlurmError, match="Unable to contact"):
        executor.submit([call("one", echo)])
    assert read_ticket(folder).job == ""


def test_a_refusal_leaves_nothing_under_way(monkeypatch, executor, folder):
    said = "sbatch: error: Batch job submission failed: Invalid qos specification"
    Scheduler(monkeypatch, [FailedJobError(said)])
    with pytest.raises(ValueError, match="SLURM refused the job: Invalid qos specification"):
        executor.submit([call("one", echo)])
    assert read_ticket(folder) is None


def test_what_cannot_be_done_while_the_controller_is_away_is_done_later(monkeypatch, executor):
    answers = [SlurmError(AWAY), None]
    cancelled = []

    def cancel(jobs):
        answer = answers.pop(0)
        if answer:
            raise answer
        cancelled.extend(jobs)

    Scheduler(monkeypatch, ["12"])
    monkeypatch.setattr(slurm_executor, "cancel", cancel)
    monkeypatch.setattr(slurm_executor, "_GLANCE_S", 0)
    always = lambda _, calls: [(one, Verdict.IMPOSSIBLE) for one in calls]  # noqa: E731
    monkeypatch.setattr(slurm_executor.Watch, "verdicts", always)
    (outcome,) = executor.run([call("one", echo)])
    assert outcome.state is State.FAILED and "Impossible" in outcome.error
    assert cancelled == ["12"]


def test_the_clusters_settings_are_asked_for_again(monkeypatch):
    answers = [SlurmError(AWAY), "MaxArraySize            = 7\n"]
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(client, "ask", lambda command: Scheduler._next(answers))
    assert client.max_array_size() == 7
