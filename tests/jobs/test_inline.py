import pytest

from jobs.inline import InlineExecutor
from jobs.testing import ExecutorContract, call, echo


class TestInline(ExecutorContract):
    @pytest.fixture
    def executor(self, tmp_path):
        with InlineExecutor(tmp_path) as executor:
            yield executor


def test_a_person_can_interrupt(monkeypatch):
    def interrupt(payload, worker):
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.testing.echo", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(InlineExecutor().run([call("interrupted", echo)]))


def test_nothing_runs_before_it_is_asked_for():
    outcomes = InlineExecutor().run([call("a", echo, {"value": 1}), call("b", echo)])
    assert next(outcomes).value == 1
    outcomes.close()
