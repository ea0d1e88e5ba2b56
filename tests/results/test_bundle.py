"""Bundle: the same files to the same bytes, whole or not at all."""

from __future__ import annotations

import hashlib
import zipfile

import pytest

from results.bundle import SUMS, write_bundle

FILES = {"b/two.txt": b"two\n", "a.txt": b"one\n", "b/empty": b""}


def test_what_goes_in_comes_out_with_a_digest_of_each(tmp_path):
    path = write_bundle(tmp_path / "not there yet" / "x.zip", FILES)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted([*FILES, SUMS])
        assert {name: archive.read(name) for name in FILES} == FILES
        sums = archive.read(SUMS).decode().splitlines()
    assert sums == [f"{hashlib.sha256(FILES[n]).hexdigest()}  {n}" for n in sorted(FILES)]


def test_order_and_clock_have_no_part_in_the_bytes(tmp_path):
    one = write_bundle(tmp_path / "one.zip", FILES)
    two = write_bundle(tmp_path / "two.zip", dict(reversed(FILES.items())))
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("name", ["/etc/passwd", "../out", "a/../../out"])
def test_no_path_leaves_it(tmp_path, name):
    with pytest.raises(ValueError, match="must stay within"):
        write_bundle(tmp_path / "x.zip", {name: b""})


def test_nothing_is_left_behind_where_it_cannot_be_written(tmp_path):
    taken = tmp_path / "x.zip"
    taken.mkdir()
    with pytest.raises(OSError, match="x.zip"):
        write_bundle(taken, FILES)
    assert [file.name for file in tmp_path.iterdir()] == ["x.zip"]
