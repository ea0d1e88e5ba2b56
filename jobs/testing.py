"""What any executor must honour, as a pytest class, and the functions its calls run.

class TestMyExecutor(ExecutorContract):
    concurrent = 2

    @pytest.fixture
    def executor(self, tmp_path):
        with MyExecutor(tmp_path) as executor:
            yield executor
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .executor import Call, DurableExecutor, Executor, Outcome, Resources, State
from .underway import end
from .worker import Worker

HOSTILE_NAMES = ("a'; echo foo\n$(id)", '-rf ../up/"größe 動画"')
PLAIN_DATA = {
    "nothing": None,
    "flags": [True, False],
    "numbers": [0, -1, 2**70, 10**400, 0.1, 1e-300, float("inf")],
    "text": "größe\n\t'\"\\",
    "empty": [{}, [], ""],
    "nested": {"a/b": {"c": [{"d": 1}]}},
    "done": False,
    "config": {"grid_search": [1, 2]},
}
_DEADLINE_S = 240.0


def echo(payload: dict[str, Any], worker: Worker) -> Any:
    """Return `payload["value"]`."""
    return payload["value"]


def fail(payload: dict[str, Any], worker: Worker) -> None:
    """Raise a ValueError with the text `payload["text"]`."""
    raise ValueError(payload["text"])


def leave(payload: dict[str, Any], worker: Worker) -> None:
    """Exit as a script would."""
    raise SystemExit("a script's way out")


def die(payload: dict[str, Any], worker: Worker) -> None:
    """Take the process down, as the kernel does when memory runs out. Never run it inline."""
    os._exit(1)


def spoil(payload: dict[str, Any], worker: Worker) -> int:
    """Report every entry of `payload["reports"]`; drop them from the payload; return how many."""
    count = len(payload["reports"])
    while payload["reports"]:
        worker.report(payload["reports"].pop(0))
    return count


def wait_for(payload: dict[str, Any], worker: Worker) -> None:
    """Write the process id to the file `payload["started"]`; wait for the file `payload["go"]`."""
    _write(Path(payload["started"]), str(os.getpid()))
    until(Path(payload["go"]).exists)


def meet(payload: dict[str, Any], worker: Worker) -> tuple[float, float]:
    """Wait until `payload["number"]` calls have come to the folder `payload["place"]`.

    Returns the monotonic times of coming and leaving, in seconds.
    """
    come = time.monotonic()
    place = Path(payload["place"])
    os.close(tempfile.mkstemp(dir=place)[0])
    until(lambda: len(list(place.iterdir())) >= payload["number"])
    return come, time.monotonic()


def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: It did not hold within four minutes.
    """
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("The condition did not come to hold.")
        time.sleep(0.01)


def call(
    name: str,
    function: Callable[..., Any],
    payload: Mapping[str, Any] | None = None,
    resources: Resources | None = None,
    group: str = "",
) -> Call:
    """Return a call of a function of an importable module, by default with an empty payload."""
    target = f"{function.__module__}:{function.__name__}"
    return Call(name, target, payload or {}, resources or Resources(), group)


class ExecutorContract:
    """Tests that every executor passes. Subclass as Test..., and override `executor`.

    Attributes:
        concurrent: How many calls of one core the fixture's executor can run at once, exactly.
    """

    concurrent = 1

    @pytest.fixture
    def executor(self, tmp_path: Path) -> Iterator[Executor]:
        """Yield the executor under test."""
        raise NotImplementedError("override the fixture `executor`")

    def test_one_outcome_a_call_with_its_value_intact(self, executor: Executor) -> None:
        """Values come back equal, under names that no shell and no folder would take."""
        calls = [call(name, echo, {"value": [name, PLAIN_DATA]}) for name in HOSTILE_NAMES]
        outcomes = list(executor.run(calls))
        assert sorted(outcome.call.name for outcome in outcomes) == sorted(HOSTILE_NAMES)
        for outcome in outcomes:
            assert outcome == Outcome(outcome.call, State.DONE, [outcome.call.name, PLAIN_DATA])

    def test_no_calls_no_outcomes(self, executor: Executor) -> None:
        """An empty submission ends at once."""
        assert list(executor.run([])) == []

    def test_failures_leave_their_neighbours_alone(self, executor: Executor) -> None:
        """Exceptions and exits are outcomes that say what happened and where."""
        good = call("good", echo, {"value": 1})
        calls = [call("bad", fail, {"text": "größe"}), call("gone", leave), good]
        by_name = {outcome.call.name: outcome for outcome in executor.run(calls)}
        assert by_name.pop("good") == Outcome(good, State.DONE, 1)
        assert [(o.state, o.value) for o in by_name.values()] == [(State.FAILED, None)] * 2
        assert "in fail" in by_name["bad"].error
        assert by_name["bad"].error.rstrip().endswith("ValueError: größe")
        assert "a script's way out" in by_name["gone"].error

    def test_reports_and_payloads_stay_with_their_call(self, executor: Executor) -> None:
        """Reporting anything changes no value; a call cannot change its caller's payload."""
        reports = [{"loss": 0.5}, {}, PLAIN_DATA, {"training_iteration": 7, "loss": None}]
        spoils = call("spoils", spoil, {"reports": list(reports)})
        assert list(executor.run([spoils])) == [Outcome(spoils, State.DONE, len(reports))]
        assert spoils.payload["reports"] == reports

    def test_mistaken_submissions_are_refused_at_once(self, executor: Executor) -> None:
        """Every mistake is named before anything runs."""
        calls = [call("twin", echo), call("twin", echo), Call("odd", "no_function", {})]
        with pytest.raises(ValueError, match=r"'twin'.*'odd' is 'no_function'"):
            executor.run(calls)

    def test_outcomes_come_in_order_of_completion(self, executor: Executor, tmp_path: Path) -> None:
        """An outcome is there before calls that wait for it end; the slow come last."""
        files = {"started": str(tmp_path / "started"), "go": str(tmp_path / "go")}
        calls = [call("slow", wait_for, files), call("quick", echo, {"value": 0})]
        outcomes = executor.run(calls if self.concurrent > 1 else calls[::-1])
        assert next(outcomes).call.name == "quick"
        Path(files["go"]).touch()
        assert [outcome.call.name for outcome in outcomes] == ["slow"]

    def test_as_many_at_once_as_resources_allow(self, executor: Executor, tmp_path: Path) -> None:
        """As many as fit meet each other; never do more run, also where calls differ in size."""
        n = self.concurrent
        all_meet = {"place": str(tmp_path), "number": n}
        calls = [call(f"one core {i}", meet, all_meet) for i in range(n + 1)]
        calls.append(call("all cores", meet, {**all_meet, "number": 1}, Resources(cpus=n)))
        outcomes = list(executor.run(calls))
        assert [o.error for o in outcomes if o.state is not State.DONE] == []
        assert _most_cores_at_once(outcomes) == n

    def test_closing_the_iterator_cancels(self, executor: Executor, tmp_path: Path) -> None:
        """What runs is gone when close returns, or `end`; the executor serves on."""
        started = tmp_path / "started"
        quick = call("quick", echo, {"value": 0})
        files = {"started": str(started), "go": str(tmp_path / "never")}
        waits = call("waits", echo, {"value": 1}, Resources(cpus=self.concurrent))
        waits = replace(waits, folder=tmp_path / "waits")
        endless = replace(call("endless", wait_for, files), folder=tmp_path / "endless")
        outcomes = executor.run([quick, endless, waits])
        assert isinstance(outcomes, Generator)
        with contextlib.closing(outcomes):
            assert next(outcomes).call == quick
            if self.concurrent > 1:
                until(started.exists)
        if isinstance(executor, DurableExecutor):
            end(one.folder for one in (endless, waits) if one.folder)
        if started.exists():
            until(lambda: not _alive(int(started.read_text())))
        assert [outcome.call for outcome in executor.run([quick])] == [quick]

    def test_closing_twice_does_no_harm(self, executor: Executor) -> None:
        """Also with a submission that nobody has asked for, and again by the context manager."""
        executor.run([call("never begun", echo, {"value": 0})])
        executor.close()
        executor.close()


def _most_cores_at_once(outcomes: Sequence[Outcome]) -> int:
    """Return the largest sum of cores of calls of `meet` at any moment."""
    changes: list[tuple[float, int]] = []
    for outcome in outcomes:
        come, left = outcome.value
        cpus = outcome.call.resources.cpus
        changes += [(come, cpus), (left, -cpus)]
    cores = [sum(cpus for _, cpus in sorted(changes)[: i + 1]) for i in range(len(changes))]
    return max(cores)


def _alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def _write(path: Path, text: str) -> None:
    """Write so that whoever sees the file sees all of it."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)
