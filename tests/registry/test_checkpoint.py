"""Training that is interrupted, wherever and however often, ends as if it had not been."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from registry.checkpoint import Keeper
from registry.evaluation import Evaluation, evaluate
from registry.interfaces import ClipShape, Prepared, Splits
from registry.recognizers.build import example_input
from registry.tables import DATASETS, METHODS, RECOGNIZERS
from registry.training import Trained, train

CHECKOUT = Path(__file__).parents[2]
FRAMES, SIZE, SEED = 4, 32, 3
STEPS_PER_EPOCH, EPOCHS = 3, 3
STEPS = STEPS_PER_EPOCH * EPOCHS
TRAINING = {"warmup": 0.2, "settle": 0.55}
"""Gates are forced full until step 2, learn until step 5 and rest from there on: inside epochs."""


@dataclass(frozen=True)
class Recipe:
    epochs: int = EPOCHS
    batch: int = 2
    lr: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.2


class Interrupted(BaseException):
    """Not an Exception: nothing may swallow it."""


@dataclass
class Keep:
    """Saves and ends training when asked for the `after`th time, or keeps a copy of every step."""

    path: Path
    after: int | None = None
    error: BaseException = field(default_factory=Interrupted)
    copies: bool = False
    num_asked: int = 0
    heard: list[int] = field(default_factory=list)

    def due(self) -> bool:
        self.num_asked += 1
        return self.copies or self.num_asked == self.after

    def saved(self, num_steps: int) -> None:
        self.heard.append(num_steps)
        if self.copies:
            shutil.copy(self.path, self.path.with_name(f"{num_steps}.pth"))
        if self.num_asked == self.after:
            raise self.error


@dataclass(frozen=True)
class Ended:
    trained: Trained
    model: dict[str, torch.Tensor]
    evaluation: Evaluation
    reported: list[dict[str, float]]


CHOICES: dict[str, dict[str, Any]] = {
    "distil": {"training": TRAINING | {"distil": 1.0}},
    "running": {"gate_norm": "running"},
}


def open_trial(recognizer: str, method: str, choice: str = "") -> tuple[Prepared, Splits]:
    """Everything anew, as another process would."""
    entry, source = RECOGNIZERS.load(recognizer), DATASETS.load("motion")
    drawn = source.settings_type(
        num_train=2 * STEPS_PER_EPOCH + 1, num_val=4, num_pairs=1, length=6, size=SIZE
    )
    shape = ClipShape(FRAMES, SIZE, entry.input_format)
    splits = source.splits(drawn, None, shape, SEED)
    config = entry.config(scale="desk", num_classes=2, num_frames=FRAMES, dropout=0.5) | {
        "width": 0.125
    }
    chosen = METHODS.load(method)
    own = {"training": TRAINING} | CHOICES.get(choice, {}) if chosen.takes_budget else {}
    settings = chosen.settings_type(**own)
    torch.manual_seed(SEED)
    budget = 0.75 if chosen.takes_budget else None
    example = example_input(entry.input_format, FRAMES, SIZE)
    return chosen.prepare(config, example, budget, settings), splits


def run(name: tuple[str, ...], folder: Path, keeper: Keeper | None) -> Ended:
    prepared, splits = open_trial(*name)
    folder = folder / uuid.uuid4().hex  # MMEngine tells runs of one process apart by it
    reported: list[dict[str, float]] = []
    trained = train(prepared, splits, Recipe(), SEED, folder, reported.append, keeper)
    model = {key: value.clone() for key, value in prepared.model.state_dict().items()}
    return Ended(trained, model, evaluate(prepared.model, splits.val, 2, 1), reported)


def interrupt(name: tuple[str, ...], folder: Path, path: Path, after: int) -> list[int]:
    """Run so many more steps, then end; return after how many steps that was saved."""
    keeper = Keep(path, after)
    with pytest.raises(Interrupted):
        run(name, folder, keeper)
    return keeper.heard


def assert_equal(one: Any, two: Any) -> None:
    """Compare nested plain data and tensors to the last bit."""
    assert type(one) is type(two)
    if isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert list(one) == list(two)
        assert_equal(list(one.values()), list(two.values()))
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_equal(a, b)
    else:
        assert one == two


def assert_same_end(one: Ended, two: Ended) -> None:
    assert one.trained.num_steps == two.trained.num_steps == STEPS
    assert one.trained.history == two.trained.history
    assert_equal(one.model, two.model)
    for name in ("scores_NK", "labels_N", "macs_N"):
        assert np.array_equal(getattr(one.evaluation, name), getattr(two.evaluation, name))
    assert one.evaluation.routes == two.evaluation.routes


def load(path: Path) -> dict[str, Any]:
    """Weights, optimiser, schedules, means and random states: all but the time."""
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    assert loaded["epoch_means"].pop("time_s") > 0
    assert loaded["epoch_means"].pop("waited_s") > 0
    return loaded


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@dataclass(frozen=True)
class Uninterrupted:
    """A run without a keeper, and the files of the same run: `end.pth`, and `<n>.pth` by step."""

    ended: Ended
    files: Path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Uninterrupted]:
    made: dict[tuple[str, ...], Uninterrupted] = {}

    def make(name: tuple[str, ...]) -> Uninterrupted:
        if name not in made:
            files = tmp_path_factory.mktemp("uninterrupted")
            ended = run(name, files / "logs", None)
            with_keeper = run(name, files / "logs", Keep(files / "end.pth", copies=True))
            assert_same_end(ended, with_keeper)
            assert ended.reported == with_keeper.reported == list(ended.trained.history)
            made[name] = Uninterrupted(ended, files)
        return made[name]

    return make


DENSE, GATED, DISTILLED = ("tsm", "dense"), ("tsm", "vared"), ("tsm", "vared", "distil")
STANDARDISED = ("tsm", "vared", "running")


def test_gates_pass_through_all_phases_inside_epochs(uninterrupted) -> None:
    files = uninterrupted(GATED).files
    states = [load(files / f"{n}.pth")["vared_controller"] for n in range(1, STEPS + 1)]
    assert [state["smoothed"] is None for state in states] == [True] * 2 + [False] * 7
    assert [state["frozen"] for state in states] == [False] * 5 + [True] * 4


@pytest.mark.parametrize(
    ("name", "after"),
    [
        (DENSE, (4, 2)),
        (GATED, (1,) * STEPS),  # after each step: in every phase, at every epoch's end, at the end
        (DISTILLED, (4,)),  # while gates learn beside a teacher
        (STANDARDISED, (1, 3, 3)),  # in each phase of its statistics
        (("r2plus1d", "dense"), (4, 3)),
    ],
    ids=lambda value: "-".join(map(str, value)),
)
def test_interruptions_change_nothing(name, after, uninterrupted, tmp_path) -> None:
    whole, path = uninterrupted(name), tmp_path / "checkpoint.pth"
    num_done = 0
    for steps in after:
        num_done += steps
        assert interrupt(name, tmp_path, path, steps) == [num_done]
        assert_equal(load(path), load(whole.files / f"{num_done}.pth"))
    taken_s = torch.load(path, weights_only=True)["epoch_means"]["time_s"]
    ended = run(name, tmp_path, Keep(path))
    assert_same_end(ended, whole.ended)
    assert_equal(load(path), load(whole.files / "end.pth"))
    assert whole.ended.trained.earlier_s == 0
    assert 0 < taken_s == ended.trained.earlier_s < ended.trained.time_s
    assert ended.reported == whole.ended.reported[num_done // STEPS_PER_EPOCH :]


def test_a_teacher_is_kept_from_the_end_of_warm_up_and_has_no_part_in_the_outcome(
    uninterrupted,
) -> None:
    whole, plain = uninterrupted(DISTILLED), uninterrupted(GATED)
    states = [load(whole.files / f"{n}.pth") for n in range(1, STEPS + 1)]
    assert ["vared_teacher" in state for state in states] == [False] * 2 + [True] * 7
    teachers = [state["vared_teacher"] for state in states[2:]]
    for teacher in teachers:
        assert_equal(teacher, states[1]["model"])  # what warm-up left
    assert list(whole.ended.model) == list(plain.ended.model)
    assert whole.ended.trained.history != plain.ended.trained.history
    assert "loss_distil" in whole.ended.trained.history[-1]


ANOTHER_PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/registry")
import numpy, torch
import test_checkpoint as test
torch.set_num_threads(1)
path = Path(sys.argv[1])
ended = test.run(test.GATED, path.parent, test.Keep(path))
numpy.save(path.with_name("scores.npy"), ended.evaluation.scores_NK)
"""


def test_another_process_goes_on(uninterrupted, tmp_path) -> None:
    whole, path = uninterrupted(GATED), tmp_path / "checkpoint.pth"
    shutil.copy(whole.files / "4.pth", path)
    command = [sys.executable, "-c", ANOTHER_PROCESS, str(path)]
    subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert_equal(load(path), load(whole.files / "end.pth"))
    scores = np.load(tmp_path / "scores.npy")
    assert np.array_equal(scores, whole.ended.evaluation.scores_NK)


def test_ended_training_returns_at_once(uninterrupted) -> None:
    whole = uninterrupted(GATED)
    before = (whole.files / "end.pth").read_bytes()
    keeper = Keep(whole.files / "end.pth")
    ended = run(GATED, whole.files / "logs", keeper)
    assert_same_end(ended, whole.ended)
    assert (keeper.num_asked, keeper.heard, ended.reported) == (0, [], [])
    assert (whole.files / "end.pth").read_bytes() == before


def cut(state: dict[str, Any], path: Path) -> None:
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])


def text(state: dict[str, Any], path: Path) -> None:
    path.write_text("not a checkpoint")


def without_random_states(state: dict[str, Any], path: Path) -> None:
    torch.save({key: value for key, value in state.items() if key != "random"}, path)


def other_shapes(state: dict[str, Any], path: Path) -> None:
    last = list(state["model"])[-1]
    torch.save(state | {"model": state["model"] | {last: torch.zeros(7)}}, path)


def other_optimiser(state: dict[str, Any], path: Path) -> None:
    state["optimiser"]["state"][0]["exp_avg"] = torch.zeros(7)
    torch.save(state, path)


def other_seed(state: dict[str, Any], path: Path) -> None:
    torch.save(state | {"seed": SEED + 1}, path)


@pytest.mark.parametrize(
    "spoil", [cut, text, without_random_states, other_shapes, other_optimiser, other_seed]
)
def test_a_file_of_no_use_is_told_and_training_begins_anew(
    spoil, uninterrupted, tmp_path, caplog
) -> None:
    files, path = uninterrupted(DENSE).files, tmp_path / "checkpoint.pth"
    spoil(torch.load(files / "4.pth", weights_only=True), path)
    assert interrupt(DENSE, tmp_path, path, 2) == [2]
    assert_equal(load(path), load(files / "2.pth"))
    (warning,) = [r for r in caplog.records if r.name == "registry.checkpoint"]
    assert f"training starts from the beginning: cannot use {path} (" in warning.getMessage()


def test_what_the_keeper_raises_comes_out_as_it_is(tmp_path) -> None:
    error = TypeError("MMEngine words these anew where a hook raises them")
    with pytest.raises(TypeError) as raised:
        run(DENSE, tmp_path, Keep(tmp_path / "checkpoint.pth", after=1, error=error))
    assert raised.value is error


def test_a_save_that_fails_leaves_the_file_before(uninterrupted, tmp_path, monkeypatch) -> None:
    path = tmp_path / "saved" / "checkpoint.pth"
    path.parent.mkdir()
    shutil.copy(uninterrupted(DENSE).files / "4.pth", path)

    def save_half(_: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", save_half)
    with pytest.raises(OSError, match="disk full"):
        run(DENSE, tmp_path, Keep(path, after=1))
    assert list(path.parent.iterdir()) == [path]
    assert load(path)["num_steps"] == 4
