"""Records on disk: whole or not at all, damaged files named, fast for a big sweep."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time

import pytest

from results.files import read_jsonl
from results.store import DamagedFileError, Labels, Store, StoreError, Sweep, write_atomic


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs with spaces")


def test_a_record_reads_back_as_written(store, make_record):
    record = make_record(seed=3)
    store.write_trial(record.key, record.trial)
    path = store.write_record(record)

    assert store.read_record(record.key) == record
    assert path == store.root / "trials" / record.key / "record.json"
    trial_text = store.trial_folder(record.key).trial_path.read_text(encoding="utf-8")
    assert json.loads(trial_text) == record.trial


def test_a_diverged_training_reads_back(store, make_record):
    history = ({"epoch": 1.0, "loss": math.nan}, {"epoch": 2.0, "loss": math.inf})
    record = make_record(history=history)
    path = store.write_record(record)

    first, second = store.read_record(record.key).history
    assert math.isnan(first["loss"])
    assert second["loss"] == math.inf
    assert "NaN" not in path.read_text().replace('"NaN"', "")  # strict JSON: a string, no constant


def test_a_trial_without_outcome_has_no_record(store):
    assert store.read_record("abc") is None


def test_records_are_in_the_order_asked_for_and_missing_ones_are_told(store, make_record):
    records = [make_record(seed=seed) for seed in range(3)]
    for record in records:
        store.write_record(record)
    keys = [records[2].key, "absent", records[0].key]

    assert store.records(keys) == [records[2], records[0]]
    assert store.read_records(keys).missing == ("absent",)


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b'{"key": "half', b"\xff\xfe\x00", b"[]", b'{"key": "k", "colour": "red"}'],
    ids=["empty", "brace", "truncated", "not-utf8", "list", "other-fields"],
)
def test_a_damaged_record_is_named_and_its_neighbours_survive(store, make_record, damage):
    good, bad = make_record(seed=0), make_record(seed=1)
    store.write_record(good)
    path = store.write_record(bad)
    path.write_bytes(damage)

    reading = store.read_records([good.key, bad.key])
    assert reading.records == (good,)
    assert list(reading.damaged) == [bad.key]
    with pytest.raises(DamagedFileError, match="record.json") as error:
        store.records([good.key, bad.key])
    assert str(path) in str(error.value)


def test_a_record_in_another_trials_folder_is_damage(store, make_record):
    record = make_record()
    text = store.write_record(record).read_text(encoding="utf-8")
    folder = store.trial_folder("0123").path
    folder.mkdir()
    (folder / "record.json").write_text(text, encoding="utf-8")

    with pytest.raises(DamagedFileError, match=f"must be of trial 0123, but is of {record.key}"):
        store.read_record("0123")


@pytest.mark.parametrize("key", ["", "..", "../x", "a/b", "/etc", ".hidden", "a\n"])
def test_a_key_cannot_leave_the_root(store, key):
    with pytest.raises(ValueError, match="trial key"):
        store.trial_folder(key)


def test_a_sweep_cannot_take_the_trials_folder(store):
    with pytest.raises(ValueError, match="'trials'"):
        store.sweep_folder("trials")


def test_a_root_that_cannot_be_written_is_named(tmp_path, make_record):
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "runs")

    for write in (store.check_writable, lambda: store.write_record(make_record())):
        with pytest.raises(StoreError, match="Cannot write") as error:
            write()
        assert str(store.root) in str(error.value)


def test_trying_a_root_leaves_nothing_behind(store):
    store.check_writable()
    assert list(store.root.iterdir()) == []


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "record.json"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "half \udc80")  # a lone surrogate has no UTF-8

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_meets_a_part_while_many_write(tmp_path):
    path = tmp_path / "record.json"
    texts = [letter * 200_000 for letter in "abcd"]
    write_atomic(path, texts[0])

    def write(text: str) -> None:
        for _ in range(10):
            write_atomic(path, text)

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() in texts
    for writer in writers:
        writer.join()

    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_is_as_readable_as_the_umask_allows(tmp_path):
    write_atomic(tmp_path / "atomic", "text")
    (tmp_path / "plain").write_text("text")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_sweep_shows_shared_trials_under_its_own_labels(store, make_record):
    record = make_record(method="old label")
    store.write_record(record)
    labels = Labels(dataset=record.dataset, recognizer=record.recognizer, method="new label")
    sweep = Sweep(
        name="second", title="Second", keys=(record.key, "absent"), labels={record.key: labels}
    )
    store.write_sweep(sweep)

    assert store.read_sweep("second") == sweep
    reading = store.read_sweep_records(sweep)
    assert [r.method for r in reading.records] == ["new label"]
    assert reading.missing == ("absent",)
    assert store.read_record(record.key).method == "old label"


def test_a_sweep_that_is_not_there_is_named(store):
    with pytest.raises(LookupError, match="no sweep 'ghost'"):
        store.read_sweep("ghost")


def test_the_copy_in_one_file_reads_back(store, make_record):
    records = [make_record(seed=seed) for seed in range(3)]
    store.write_sweep_records("demo", records[:1])
    path = store.write_sweep_records("demo", records)

    assert read_jsonl(path) == records
    path.write_text(path.read_text(encoding="utf-8") + "{half", encoding="utf-8")
    with pytest.raises(DamagedFileError, match="records.jsonl, line 4"):
        read_jsonl(path)


def test_ten_thousand_records_read_in_seconds(store, make_record):
    text = make_record().model_dump_json()
    key = make_record().key
    keys = [f"{i:012d}" for i in range(10_000)]
    for k in keys:
        folder = store.trial_folder(k)
        folder.path.mkdir(parents=True)
        folder.record_path.write_text(text.replace(key, k), encoding="utf-8")

    start = time.process_time()  # not wall time: other work on the machine is not the store's
    assert len(store.records(keys)) == len(keys)
    assert time.process_time() - start < 3


def test_the_store_imports_nothing_heavy():
    heavy = ("numpy", "scipy", "matplotlib", "mlflow", "rich", "moocore", "torch")
    code = f"import sys, results.store; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
