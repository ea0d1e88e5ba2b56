"""Your own clips: whole ones, odd ones, broken ones, and lists with faults."""

import logging
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from registry.datasets.decoding import iterate_frames
from registry.datasets.folder import FOLDER, FolderSettings
from registry.datasets.inspection import cache_folder, inspect_video
from registry.datasets.listing import MOST_SHOWN
from registry.interfaces import ClipShape

SHAPE = ClipShape(4, 32, "NCHW")
PLACES = [os.environ.get("HARNESS_DATA"), Path(__file__).parents[3] / "shared" / "data"]
BAD_INPUT = next(
    (Path(p) / "badinput" for p in PLACES if p and (Path(p) / "badinput").is_dir()), None
)
needs_bad_input = pytest.mark.skipif(
    BAD_INPUT is None, reason="badinput lies neither in $HARNESS_DATA nor in ../shared/data"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def encode(path, count=12, size=(64, 48), pix_fmt="yuv420p", times_ms=None, options=None):
    """Write a clip whose frames grow brighter from left to right and with time."""
    width, height = size
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "4"})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(count):
            grey = np.linspace(0, 100, width)[None, :, None] + 12 * (index % 12)
            picture = np.broadcast_to(grey, (height, width, 3)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = times_ms[index] if times_ms else 40 * index
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def broken(path, how):
    """Write a clip that does not decode to its end."""
    encode(path, 100, options={"movflags": "faststart"})
    content = path.read_bytes()
    middle = len(content) * 3 // 5
    path.write_bytes(
        {
            "zero bytes": b"",
            "text": b"not a video",
            "truncated": content[:middle],
            "truncated index": content[:200],
            "damaged": content[:middle] + b"\xff" * 300 + content[middle + 300 :],
        }[how]
    )


BREAKAGES = ["zero bytes", "text", "truncated", "truncated index", "damaged"]


@pytest.fixture
def root(tmp_path):
    """A data set of four training and two validation clips."""
    folder = tmp_path / "my clips"
    folder.mkdir()
    for name in ("a", "b", "c", "d", "e", "f"):
        encode(folder / f"{name}.mp4", 10 + ord(name) % 5)
    write(folder, "train.txt", "a.mp4 0", "b.mp4 1", "c.mp4 0", "d.mp4 1")
    write(folder, "val.txt", "e.mp4 0", "f.mp4 1")
    return folder


def write(folder, name, *lines):
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def faults(root, **settings) -> str:
    with pytest.raises(ValueError, match="fault") as caught:
        FOLDER.manifest(FolderSettings(root=root, **settings), None)
    return str(caught.value)


def test_good_folder(root):
    settings = FolderSettings(root=root)
    manifest = FOLDER.manifest(settings, None)
    assert (manifest.num_train, manifest.num_val, manifest.unreadable) == (4, 2, ())
    splits = FOLDER.splits(settings, None, SHAPE, seed=0)
    assert splits.class_names == ("0", "1")
    assert [int(splits.val[i]["data_samples"].gt_label) for i in range(2)] == [0, 1]
    assert splits.train[3]["inputs"].shape == (4, 3, 32, 32)


def test_root_is_relative_to_the_data_root(root):
    relative = FolderSettings(root="my clips")
    absolute = FOLDER.manifest(FolderSettings(root=root), None)
    assert FOLDER.manifest(relative, root.parent) == absolute


def test_blanks_in_names_windows_lines_and_byte_order_mark(root):
    (root / "a.mp4").rename(root / "a b.mp4")
    lines = "a b.mp4 0\r\n\r\nb.mp4 1\r\n"
    (root / "train.txt").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    assert FOLDER.manifest(FolderSettings(root=root), None).num_train == 2


def test_memory_and_files_give_the_same_frames(root):
    kept, read, pyav = (
        FOLDER.splits(FolderSettings(root=root, **settings), None, SHAPE, seed=0)
        for settings in ({}, {"cache_gb": 0}, {"cache_gb": 0, "decoder": "pyav"})
    )
    for index in range(2):
        expected = kept.val[index]["inputs"].numpy().astype(int)
        np.testing.assert_array_equal(read.val[index]["inputs"], expected)
        assert np.abs(pyav.val[index]["inputs"].numpy() - expected).max() <= 2
    np.testing.assert_array_equal(kept.train[0]["inputs"], read.train[0]["inputs"])


def test_name_without_extension_is_read(root):
    (root / "a.mp4").rename(root / "a")
    write(root, "train.txt", "a 0", "b.mp4 1")
    settings = FolderSettings(root=root, cache_gb=0)
    assert FOLDER.splits(settings, None, SHAPE, seed=0).train[0]["inputs"].any()


@pytest.mark.parametrize("cache_gb", [1.0, 0.0], ids=["memory", "files"])
def test_reverse_suffix_plays_the_forward_file_backwards(root, cache_gb):
    write(root, "train.txt", "a.mp4 0", "a_rev.mp4 1")
    write(root, "val.txt", "e.mp4 0", "e_rev.mp4 1")
    settings = FolderSettings(root=root, reverse_suffix="_rev", cache_gb=cache_gb)
    splits = FOLDER.splits(settings, None, SHAPE, seed=0)
    np.testing.assert_array_equal(splits.val[0]["inputs"].flip(0), splits.val[1]["inputs"])
    assert "e_rev.mp4" in faults(root)


def test_digest_follows_content_names_and_labels(root):
    def digest():
        return FOLDER.manifest(FolderSettings(root=root), None).digest

    first = digest()
    assert digest() == first
    write(root, "val.txt", "e.mp4 1", "f.mp4 0")
    relabelled = digest()
    encode(root / "a.mp4", 11)
    assert len({first, relabelled, digest()}) == 3


def test_verdicts_are_remembered(root, monkeypatch):
    settings = FolderSettings(root=root)
    first = FOLDER.manifest(settings, None)
    assert list(cache_folder().glob("*.json"))
    monkeypatch.setattr("registry.datasets.inspection.inspect_video", None)
    assert FOLDER.manifest(settings, None) == first


@pytest.mark.parametrize("content", ["", "{}", '{"format": 0}', "[]", '{"format": 1, "videos": 3}'])
def test_spoilt_memory_is_ignored(root, content):
    settings = FolderSettings(root=root)
    first = FOLDER.manifest(settings, None)
    for memory in cache_folder().glob("*.json"):
        memory.write_text(content)
    assert FOLDER.manifest(settings, None) == first


def test_cache_that_cannot_be_written_is_no_obstacle(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert FOLDER.manifest(FolderSettings(root=root), None).num_train == 4


@pytest.mark.parametrize("how", BREAKAGES)
def test_broken_clip_is_left_out_of_training_and_kept_in_validation(root, how, caplog):
    broken(root / "b.mp4", how)
    broken(root / "e.mp4", how)
    settings = FolderSettings(root=root)
    manifest = FOLDER.manifest(settings, None)
    assert (manifest.num_train, manifest.num_val) == (4, 2)
    assert [text.split(":")[0] for text in manifest.unreadable] == ["b.mp4", "e.mp4"]
    assert str(root) not in "".join(manifest.unreadable)
    with caplog.at_level(logging.WARNING):
        splits = FOLDER.splits(settings, None, SHAPE, seed=0)
    assert "1 of 4 training clips cannot be decoded and are left out:\n  b.mp4: " in caplog.text
    assert [item.clip for item in splits.train.items] == ["a.mp4", "c.mp4", "d.mp4"]
    sample = splits.val[0]
    assert sample["data_samples"].unreadable is True
    assert sample["inputs"].shape == (4, 3, 32, 32) and not sample["inputs"].any()
    assert splits.val[1]["data_samples"].unreadable is False


def test_nothing_readable_to_train_on(root):
    for name in "abcd":
        (root / f"{name}.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 4 training clips can be decoded"):
        FOLDER.splits(FolderSettings(root=root), None, SHAPE, seed=0)


ODDITIES = {
    "odd size": {"size": (65, 49), "pix_fmt": "yuv444p"},
    "portrait": {"size": (64, 90)},
    "width decord gets wrong": {"size": (48, 90)},
    "one frame": {"count": 1},
    "variable frame rate": {
        "times_ms": [0, 40, 80, 90, 100, 400, 900, 910, 1000, 2000, 2040, 2080]
    },
}


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("oddity", ODDITIES)
def test_odd_clips_are_read(root, oddity, decoder, caplog):
    encode(root / "e.mp4", **ODDITIES[oddity])
    settings = FolderSettings(root=root, decoder=decoder)
    assert FOLDER.manifest(settings, None).unreadable == ()
    with caplog.at_level(logging.WARNING):
        sample = FOLDER.splits(settings, None, SHAPE, seed=0).val[0]
    assert sample["inputs"].shape == (4, 3, 32, 32) and sample["inputs"].any()
    assert sample["data_samples"].total_frames == ODDITIES[oddity].get("count", 12)
    assert ("1 of 6 clips have fewer than 4 frames" in caplog.text) == (oddity == "one frame")


def test_every_fault_is_named_with_list_and_line(root):
    write(root, "names.txt", "run", "walk")
    write(root, "train.txt", "a.mp4 0", "gone.mp4 1", "b.mp4 two", "lonely", "c.mp4 2", "d.mp4 -1")
    write(root, "val.txt", "a.mp4 1", "e.mp4 1")
    text = faults(root, classes="names.txt")
    assert str(root) in text
    for fault in (
        "7 fault(s)",
        "train.txt:2: the clip is missing",
        "train.txt:3: the label must be an integer, but got 'two'",
        "train.txt:4: a line must be `path label`, but got 'lonely'",
        "train.txt:5: the label must be in 0..1, but got 2",
        "train.txt:6: the label must be in 0..1, but got -1",
        "val.txt:1: a.mp4 is also in training (train.txt:1)",
        "val.txt:1: a.mp4 has another label in train.txt:1",
    ):
        assert fault in text


def test_long_lists_of_faults_are_cut(root):
    write(root, "train.txt", *(f"gone{index}.mp4 0" for index in range(50)))
    text = faults(root)
    assert text.startswith("50 fault(s)")
    assert text.count("is missing") == MOST_SHOWN
    assert text.endswith(f"and {50 - MOST_SHOWN} more")


def test_missing_and_empty_lists(root):
    (root / "train.txt").unlink()
    write(root, "val.txt", "", "  ")
    text = faults(root, classes="nowhere.txt")
    assert "train.txt: cannot be read (No such file or directory)" in text
    assert "val.txt: the list is empty" in text
    assert "nowhere.txt: cannot be read" in text


def test_missing_folder(tmp_path):
    assert "train.txt: cannot be read" in faults(tmp_path / "nowhere")


def test_list_that_is_not_text(root):
    (root / "val.txt").write_bytes(b"e.mp4 0\n\xff\xfe\x00 1\n")
    assert "val.txt: not UTF-8 text (byte 8)" in faults(root)


def test_one_class_only(root):
    write(root, "train.txt", "a.mp4 1", "b.mp4 1")
    write(root, "names.txt", "alone")
    assert "train.txt: one class only (label 1)" in faults(root)
    assert "names.txt: one class only (alone)" in faults(root, classes="names.txt")


@needs_bad_input
def test_bad_input_goes_through(root):
    names = ["corrupted.mp4", "h265_10bits.mp4", "realshort.mp4", "video_90.mov"]
    for name in names:
        (root / name).symlink_to(BAD_INPUT / name)
    write(root, "val.txt", *(f"{name} {index % 2}" for index, name in enumerate(names)))
    settings = FolderSettings(root=root)
    (unreadable,) = FOLDER.manifest(settings, None).unreadable
    assert unreadable.startswith("corrupted.mp4: stops after 28 frames")
    val = FOLDER.splits(settings, None, SHAPE, seed=0).val
    flags = [val[index]["data_samples"].unreadable for index in range(4)]
    assert flags == [True, False, False, False]


@needs_bad_input
def test_rotation_is_applied_by_both_decoders():
    path = BAD_INPUT / "video_90.mov"
    decord, pyav = (np.stack(list(iterate_frames(path, kind))) for kind in ("decord", "pyav"))
    assert decord.shape == pyav.shape == (3, 568, 320, 3)
    assert np.abs(decord.astype(int) - pyav).mean() < 1


def test_pyav_steps_in_for_decord(root, monkeypatch):
    def fail(path):
        raise RuntimeError("[12:00:00] /somewhere/x.cc:1: no such luck at 0x7f")
        yield

    monkeypatch.setattr("registry.datasets.decoding._decord", fail)
    assert inspect_video(root / "a.mp4", "auto").decoder == "pyav"
    assert inspect_video(root / "a.mp4", "decord").reason == "no such luck at (decord)"
