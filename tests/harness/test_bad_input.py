"""What a person meets who gets something wrong: one message, exit code 2, nothing lost.

All through `main`, as from a shell, with the real tables; only three tests train, on tiny clips.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml

from harness.concerns import MOST_NAMED, concerns
from harness.problems import UserError
from harness.sweep import Settings
from registry.datasets.listing import MOST_CLASSES
from registry.interfaces import Manifest
from results.record import Record
from results.store import Store

PLACES = [os.environ.get("HARNESS_DATA"), Path(__file__).parents[3] / "shared" / "data"]
BAD_INPUT = next(
    (Path(p) / "badinput" for p in PLACES if p and (Path(p) / "badinput").is_dir()), None
)
needs_bad_input = pytest.mark.skipif(
    BAD_INPUT is None, reason="badinput lies neither in $HARNESS_DATA nor in ../shared/data"
)
GENERATED = {"name": "motion", "num_train": 8, "num_val": 4}
RECIPE = {"epochs": 1, "frames": 4, "size": 32, "batch": 4}


Harness = Callable[..., Any]


@pytest.fixture(autouse=True)
def light_registry() -> None:
    """Replaces the stand-ins of the other tests here: this file is about the real tables."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("DATA_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("harness.publish.FORMATS", ("csv",))


@pytest.fixture
def harness(shell: Harness) -> Harness:
    return shell


def write(**change: Any) -> str:
    """Write a right budgets.yaml, less what is changed; returns its path."""
    document = {
        "datasets": [GENERATED],
        "recognizers": ["tsn"],
        "methods": ["dense"],
        "recipe": RECIPE,
        "executor": "inline",
        "tracking": {"mlflow": "off"},
    }
    Path("budgets.yaml").write_text(yaml.safe_dump(document | change), encoding="utf-8")
    return "budgets.yaml"


def refused(shown: Any, *said: str) -> None:
    """One message on stderr, nothing on stdout, exit code 2."""
    assert shown.code == 2, shown
    assert shown.out == ""
    assert shown.err.startswith(("harness: ", "Usage: "))
    for text in said:
        assert text in shown.err


def encode(path: Path, count: int = 8) -> None:
    """Write a clip of 32 x 32 whose brightness depends on its name and on time."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for index in range(count):
            grey = np.full(
                (32, 32, 3), (10 * index + 40 * (ord(path.stem[-1]) % 4)) % 256, np.uint8
            )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())


def lists(train: Sequence[str], val: Sequence[str], folder: str = "clips") -> None:
    Path(folder).mkdir(exist_ok=True)
    for name, lines in (("train.txt", train), ("val.txt", val)):
        Path(folder, name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def made(names: str, count: int = 8) -> list[str]:
    """Encode a clip a letter; returns lines of a list, labels in turn."""
    for name in names:
        encode(Path("clips", f"{name}.mp4"), count)
    return [f"{name}.mp4 {index % 2}" for index, name in enumerate(names)]


def folder(**settings: Any) -> dict[str, Any]:
    return {"datasets": [{"name": "folder", "root": "clips", **settings}]}


def only_record() -> Record:
    paths = list(Path("runs/trials").glob("*/record.json"))
    assert len(paths) == 1
    record = Store(Path("runs")).read_record(paths[0].parent.name)
    assert record is not None
    return record


# The file


def test_no_such_file(harness: Harness) -> None:
    write()
    refused(harness("plan", "budget.yaml"), "budget.yaml", "Did you mean 'budgets.yaml'?")
    refused(harness("sweep", "nowhere/b.yaml"), "nowhere/b.yaml", "No such file")
    refused(harness("report", "gone.yaml"), "gone.yaml", "No such file")
    Path("folder.yaml").mkdir()
    refused(harness("status", "folder.yaml"), "folder.yaml", "Is a directory")


@pytest.mark.parametrize("command", ["plan", "sweep", "status"])
def test_a_file_that_is_no_yaml(harness: Harness, command: str) -> None:
    Path("budgets.yaml").write_text("budgets: [0.8\nseeds: 2\n")
    refused(harness(command, "budgets.yaml"), "budgets.yaml: 1 mistake.", "line 2, column 6")


MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "recognizer": ({"recognizers": ["tns"]}, ["`recognizers[0].name`", "'tns'", "'tsn'", "r2plus"]),
    "method": ({"methods": ["vard"]}, ["`methods[0].name`", "'vard'", "'vared'", "narrow"]),
    "data set": ({"datasets": ["moton"]}, ["`datasets[0].name`", "'moton'", "'motion'", "folder"]),
    "executor": ({"executor": "inlin"}, ["`executor.name`", "inlin", "inline", "ray"]),
    "key": ({"recipes": {}}, ["`recipes`", "'recipe'", "Choices: name, datasets"]),
    "key inside": ({"recipe": {"frame": 2}}, ["`recipe.frame`", "'frames'", "epochs"]),
    "key of a data set": (folder(trian="a.txt"), ["`datasets[0].trian`", "'train'", "classes"]),
    "decoder": (folder(decoder="decrod"), ["`datasets[0].decoder`", "'decrod'", "'decord'"]),
    "budget 0": ({"budgets": [0]}, ["`budgets[0]`", "greater than 0", "got 0"]),
    "budget 1.5": ({"budgets": [1.5]}, ["`budgets[0]`", "(0, 1]", "got 1.5"]),
    "budget a word": ({"budgets": ["half"]}, ["`budgets[0]`", "number", "'half'"]),
    "budgets no list": ({"budgets": "half"}, ["`budgets` must be a list", "'half'"]),
    "budgets empty": ({"methods": ["vared"], "budgets": []}, ["`budgets`", "empty", "vared"]),
    "no teacher": (
        {"methods": [{"name": "vared", "training": {"distil": 1, "warmup": 0}}], "budgets": [0.7]},
        ["`methods[0].training`", "`distil` needs a warm-up", "`warmup` must be > 0, but got 0"],
    ),
    "seeds empty": ({"seeds": []}, ["`seeds`", "at least 1"]),
    "seeds a word": ({"seeds": "three"}, ["`seeds` must be a list", "'three'"]),
    "no frames": ({"recipe": {"frames": 0}}, ["`recipe.frames`", "equal to 1", "got 0"]),
    "small": ({"recipe": {"size": 8}}, ["`recipe.size`", "equal to 16", "got 8"]),
    "no mapping": ({"tracking": "off"}, ["`tracking` must be a mapping of keys", "'off'"]),
    "empty section": ({"recipe": None}, ["`recipe` must be a mapping of keys", "None"]),
    "a list for all": ({"datasets": "motion"}, ["`datasets` must be a list", "'motion'"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_file(harness: Harness, mistake: str) -> None:
    change, said = MISTAKES[mistake]
    shown = harness("plan", write(**change))
    refused(shown, "budgets.yaml: 1 mistake.", *said)


def test_all_mistakes_of_a_file_at_once(harness: Harness) -> None:
    everything: dict[str, Any] = {
        "datasets": ["moton"],
        "recognizers": ["tns"],
        "methods": ["vard"],
        "budgets": [0, 1.5, "half"],
        "seeds": [],
        "executor": "inlin",
        "recipe": {"frames": 0, "sise": 32},
        "sedes": 3,
    }
    shown = harness("sweep", write(**everything))
    refused(shown, "budgets.yaml: 11 mistakes.")
    assert shown.err.count("\n  `") == 11
    assert not Path("runs").exists()


def test_an_executor_on_the_command_line(harness: Harness) -> None:
    refused(harness("sweep", write(), "--executor", "inlin"), "`executor.name`", "`inline`")


def test_a_mistyped_preset(harness: Harness) -> None:
    shown = harness("plan", write(methods=[{"name": "vared", "preste": "foldable"}]))
    refused(shown, "`methods[0].preste` is not known here", "Did you mean 'preset'?", "gate_width")


def test_a_scale_that_there_is_not(harness: Harness) -> None:
    shown = harness("macs", "tsn", "--scale", "dsk")
    refused(shown, "'dsk'", "Did you mean 'desk'?", "desk, paper")


@pytest.mark.parametrize("command", ["plan", "sweep"])
@pytest.mark.parametrize(
    "change",
    [
        {"recipe": RECIPE | {"frames": 7}},
        {"search": {"recipe.frames": [4, 7]}},
        {"recognizers": ["tsn", {"name": "slowfast", "recipe": {"frames": 7}}]},
    ],
    ids=["recipe", "search", "own recipe"],
)
def test_frames_that_a_recognizer_does_not_take(
    harness: Harness, command: str, change: dict[str, Any]
) -> None:
    shown = harness(command, write(**{"recognizers": ["tsn", "slowfast"]} | change))
    refused(shown, "1 mistake.", "`recognizers[1]` (slowfast)", "a multiple of 2", "got 7")
    assert not list(Path().glob("runs/trials/*"))


def test_frames_and_data_are_complained_of_together(harness: Harness) -> None:
    change = {"recognizers": ["slowfast"], "recipe": RECIPE | {"frames": 7}, **folder()}
    shown = harness("plan", write(**change))
    refused(shown, "budgets.yaml: 2 mistakes.", "got 7", "train.txt: cannot be read")


# Places


@pytest.mark.parametrize("runs", ["file", "file/runs", "/proc/x"])
def test_a_runs_folder_that_cannot_be_written(harness: Harness, runs: str) -> None:
    Path("file").write_text("precious")
    refused(harness("sweep", write(), "--runs", runs), "Cannot write", f"`{runs}`")
    assert Path("file").read_text() == "precious"


def test_places_are_tried_before_clips_are_decoded(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists(made("abcd"), made("ef"))
    monkeypatch.setattr("registry.datasets.videos.inspect_videos", None)
    shown = harness("sweep", write(**folder()), "--runs", "/proc/x")
    refused(shown, "Cannot write")
    nobody = {"tracking": {"mlflow": "http://127.0.0.1:9"}}
    refused(harness("sweep", write(**folder(), **nobody)), "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:9", "No MLflow store answers at `http://127.0.0.1:9`"),
        ("file:///tmp/mlruns", "plain folders, so `file:///tmp/mlruns` will not do"),
        ("mlruns", "sqlite:////path/to/mlflow.db"),
        ("htp://host", "`htp://host`"),
    ],
)
def test_a_tracking_store_that_will_not_do(harness: Harness, uri: str, said: str) -> None:
    start = time.monotonic()
    refused(harness("sweep", write(tracking={"mlflow": uri})), said)
    assert time.monotonic() - start < 10
    assert not Path("runs/trials").exists()


def test_a_data_root_that_is_not_there(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = harness("plan", write(datasets=["weizmann"]), "--data-root", "nowhere")
    refused(shown, "--data-root", "'nowhere' does not exist")
    monkeypatch.setenv("DATA_ROOT", "nowhere")
    refused(harness("plan", write()), "DATA_ROOT", "'nowhere' does not exist")


def test_the_current_folder_is_the_data_root_of_workers_elsewhere(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Settings] = []

    def read(path: Path, settings: Settings, *rest: object) -> None:
        seen.append(settings)
        raise UserError("enough")

    monkeypatch.setattr("harness.request.read_request", read)
    refused(harness("sweep", write(**folder())), "enough")
    assert seen[0].data_root == tmp_path


def test_weizmann_without_its_clips(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    shown = harness("plan", write(datasets=["weizmann"]), "--data-root", str(tmp_path))
    refused(shown, "`datasets[0]` (weizmann)", str(tmp_path / "weizmann4"), "HARNESS_DATA")


# A folder of clips


def test_no_lists(harness: Harness) -> None:
    refused(
        harness("plan", write(**folder(root="nowhere"))), "nowhere", "train.txt: cannot be read"
    )
    Path("clips").mkdir()
    shown = harness("plan", write(**folder()))
    refused(shown, "`datasets[0]` (folder)", "train.txt: cannot be read", "val.txt: cannot be read")


def test_empty_lists(harness: Harness) -> None:
    lists([], [" "])
    shown = harness("plan", write(**folder()))
    refused(shown, "train.txt: the list is empty", "val.txt: the list is empty")


def test_every_faulty_line_is_told_at_once(harness: Harness) -> None:
    made("abcd")
    faulty = ["a.mp4 0", "gone.mp4 1", "b.mp4 one", "c.mp4 1.5", "lonely", "d.mp4 -1"]
    lists([*faulty, "x" * 300 + ".mp4 0"], made("ef"))
    shown = harness("plan", write(**folder()))
    refused(
        shown,
        "6 fault(s)",
        "train.txt:2: the clip is missing",
        "train.txt:3: the label must be an integer, but got 'one'",
        "train.txt:4: the label must be an integer, but got '1.5'",
        "train.txt:5: a line must be `path label`, but got 'lonely'",
        "train.txt:6: the label must be in 0..",
        "train.txt:7: the clip is missing",
    )


def test_a_label_beyond_the_classes(harness: Harness) -> None:
    lists([*made("abc"), "d.mp4 2"], made("ef"))
    made("d")
    Path("clips/names.txt").write_text("run\nwalk\n")
    shown = harness("plan", write(**folder(classes="names.txt")))
    refused(shown, "train.txt:4: the label must be in 0..1, but got 2")


def test_a_label_that_would_fill_the_memory(harness: Harness) -> None:
    lists([*made("abc"), "d.mp4 999999999"], made("ef"))
    made("d")
    last = MOST_CLASSES - 1
    refused(harness("plan", write(**folder())), f"train.txt:4: the label must be in 0..{last}")


def test_one_class_only(harness: Harness) -> None:
    made("ab")
    lists(["a.mp4 1", "b.mp4 1"], made("ef"))
    refused(harness("plan", write(**folder())), "1 fault(s)", "one class only (label 1)")
    lists(["a.mp4 1", "gone.mp4 0"], made("ef"))
    shown = harness("plan", write(**folder()))
    refused(shown, "1 fault(s)", "gone.mp4")  # and not of one class, which is not so


def test_every_unusable_data_set_at_once(harness: Harness) -> None:
    both = [{"name": "folder", "root": name, "label": name} for name in ("one", "two")]
    refused(harness("plan", write(datasets=both)), "2 mistakes", "(one)", "(two)")


@pytest.mark.parametrize("command", ["plan", "sweep"])
def test_nothing_left_to_train_on(harness: Harness, command: str) -> None:
    lists(made("abcd"), made("ef"))
    for name in "bd":
        Path("clips", f"{name}.mp4").write_bytes(b"")
    shown = harness(command, write(**folder()))
    refused(shown, "only one class (label 0)", "2 of 4", "b.mp4: the file is empty", "d.mp4")
    for name in "ac":
        Path("clips", f"{name}.mp4").write_bytes(b"")
    shown = harness(command, write(**folder()))
    refused(shown, "none of the 4 training clips can be decoded", "a.mp4", "b.mp4", "c.mp4")
    assert not list(Path().glob("runs/trials/*"))


# What goes on with a warning


def test_a_plan_tells_what_is_wrong_with_the_clips(harness: Harness) -> None:
    lists(made("abcd"), [*made("ef"), "g.mp4 4"])
    made("g", count=2)
    Path("clips/a.mp4").write_bytes(b"")
    shown = harness("plan", write(**folder()))
    assert shown.code == 0
    assert "warning: folder: 1 of the clips cannot be decoded" in shown.out
    assert "\n  a.mp4: the file is empty" in shown.out
    assert "warning: folder: 1 of 6 clips have fewer than 4 frames" in shown.out
    assert "1 of 3 validation clips are of classes that no training clip shows (labels 4)" in (
        shown.out
    )
    assert not Path("runs").exists()


def test_long_lists_of_unreadable_clips_are_cut() -> None:
    names = tuple(f"{number}.mp4: the file is empty" for number in range(50))
    (text,) = concerns([], {"mine": Manifest("", 100, 10, names)})
    assert text.startswith("mine: 50 of the clips cannot be decoded")
    assert text.count("is empty") == MOST_NAMED
    assert text.endswith(f"and {50 - MOST_NAMED} more")


def test_broken_clips_are_left_out_of_training_and_count_as_wrong_in_validation(
    harness: Harness,
) -> None:
    lists(made("abcdefgh"), made("ijkl"))
    made("cj", count=2)  # shorter than the frames asked for
    for name in "ai":
        Path("clips", f"{name}.mp4").write_bytes(b"")
    truncated = Path("clips/b.mp4")
    truncated.write_bytes(truncated.read_bytes()[:-200])
    shown = harness("sweep", write(**folder()))
    assert shown.code == 0, shown
    record = only_record()
    _, _, end = shown.out.partition("done folder")
    assert "warning: folder: 3 of the clips cannot be decoded" in end
    for name in ("a.mp4: the file is empty", "b.mp4: ", "i.mp4: the file is empty"):
        assert f"\n  {name}" in end
    assert "warning: folder: 2 of 9 clips have fewer than 4 frames: frames are repeated" in end
    left_out, short = record.warnings
    assert left_out.startswith("2 of 8 training clips cannot be decoded and are left out:\n  a.mp4")
    assert "\n  b.mp4" in left_out
    assert short == "2 of 9 clips have fewer than 4 frames: frames are repeated"
    assert record.unreadable_clips == ("i.mp4",)
    assert record.accuracy is not None
    assert (record.accuracy.num_clips, record.accuracy.num_unreadable) == (4, 1)
    assert record.accuracy.top5 == 0.75  # both classes are among the five best


@needs_bad_input
@pytest.mark.parametrize("split", ["train", "val"])
def test_files_out_of_the_wild(harness: Harness, split: str) -> None:
    assert BAD_INPUT is not None
    files = sorted(path for path in BAD_INPUT.iterdir() if path.suffix in (".mp4", ".mov"))
    assert len(files) >= 4
    train, val = made("abcd"), made("ef")
    for number, path in enumerate(files):
        Path("clips", path.name).symlink_to(path)
        (train if split == "train" else val).append(f"{path.name} {number % 2}")
    lists(train, val)
    shown = harness("sweep", write(**folder()))
    assert shown.code == 0, shown
    record = only_record()
    assert record.status == "ok"
    assert "\n  corrupted.mp4: stops after 28 frames" in shown.out
    assert record.unreadable_clips == (("corrupted.mp4",) if split == "val" else ())
    assert ("left out:\n  corrupted.mp4" in "".join(record.warnings)) == (split == "train")
