"""`harness serve`: the page and MLflow, on loopback, until a signal; nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.cli import main
from results.record import Accuracy, Macs, Record
from results.store import Store, Sweep

ROOT = Path(__file__).resolve().parents[2]
KEY = "0123456789ab"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    store = Store(tmp_path / "runs with spaces")
    record = Record(
        key=KEY,
        status="ok",
        trial={},
        dataset="clips",
        recognizer="TSM",
        method="dense",
        budget=None,
        seed=0,
        accuracy=Accuracy(top1=0.5, top5=0.9, mean_class=0.5, num_clips=10),
        macs=Macs(dense=10, mean=10, p5=10, p50=10, p95=10, min=10, max=10),
    )
    store.write_record(record)
    store.write_sweep(Sweep(name="small", title="Small sweep", keys=(KEY,)))
    return store.root


@contextlib.contextmanager
def serving(runs: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The command and the lines it printed until it was ready."""
    command = [sys.executable, "-c", "from harness.cli import main; main()"]
    process = subprocess.Popen(
        [*command, "serve", "small", "--runs", str(runs), *words],
        env={k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    try:
        lines: list[str] = []
        for text in process.stdout:
            lines.append(text.strip())
            if text.startswith("Ctrl-C"):
                break
        yield process, lines
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def address(lines: list[str], what: str) -> str:
    return next(text.partition(": ")[2] for text in lines if text.startswith(what))


def get(url: str, **headers: str) -> tuple[int, str]:
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def ended(process: subprocess.Popen[str], number: int) -> int:
    process.send_signal(number)
    return process.wait(30)


def test_the_page_alone_where_there_is_no_mirror(runs: Path) -> None:
    with serving(runs, "--port", "0") as (process, lines):
        assert any("harness sync small" in text for text in lines)
        url = address(lines, "Report")
        assert url.startswith("http://127.0.0.1:")
        assert "<title>Small sweep</title>" in get(url)[1]
        assert get(f"{url}records.jsonl")[0] == 200
        assert get(f"{url}sweep.json")[0] == 404
        assert get(f"{url}../trials/{KEY}/record.json")[0] == 404
        assert get(f"{url}mlflow")[0] == 404
        assert get(url, Host="evil.example")[0] == 403
        assert ended(process, signal.SIGINT) == 0


# MLflow's own deprecations, none of which this project can mend
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_both_end_together_and_leave_nothing(runs: Path) -> None:
    from results.tracking import sync
    from results.tracking_uri import default_uri

    store = Store(runs)
    folder = store.sweep_folder("small")
    folder.mkdir(exist_ok=True)
    sync(store.records([KEY]), "small", (), default_uri(folder))
    with serving(runs, "--port", "0") as (process, lines):
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        assert all(child.environ()["MLFLOW_DISABLE_TELEMETRY"] == "true" for child in children)
        url = address(lines, "MLflow")
        assert "MLflow" in get(url)[1]
        assert "MLflow" in get(f"{address(lines, 'Report')}mlflow")[1]
        assert ended(process, signal.SIGTERM) == 0
    deadline = time.monotonic() + 10
    while any(child.is_running() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in children if child.is_running()]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)


def test_a_taken_port_is_told(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ["harness", "serve", "small", "--runs", str(runs), "--port", str(port)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as exit_code:
            main()
    assert exit_code.value.code == 2
    assert f"port {port} of 127.0.0.1 cannot be had" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["report", "--html"], ["serve"]], ids=" ".join)
def test_nothing_to_show_is_told(
    command: list[str],
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Store(runs).write_sweep(Sweep(name="empty", title="Empty", keys=()))
    monkeypatch.setattr(sys, "argv", ["harness", *command, "empty", "--runs", str(runs)])
    with pytest.raises(SystemExit) as exit_code:
        main()
    assert exit_code.value.code == 2
    assert "no record yet" in capsys.readouterr().err


def test_html_writes_the_page_alone(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "report", "small", "--html", "--runs", str(runs)])
    with pytest.raises(SystemExit) as exit_code:
        main()
    assert exit_code.value.code == 0
    names = {path.name for path in (runs / "small").iterdir()}
    assert names == {"report.html", "records.jsonl", "sweep.json"}
    assert "report.html" in capsys.readouterr().out


def test_a_mlflow_that_does_not_answer_in_time_is_told_as_such(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("harness.serve.START_S", 0.0)
    (runs / "small" / "mlflow.db").touch()
    monkeypatch.setattr(
        sys, "argv", ["harness", "serve", "small", "--runs", str(runs), "--port", "0"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "MLflow gave no answer within 0 s" in capsys.readouterr().err
