"""The report and MLflow side by side, on this machine alone, until somebody ends them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType

from rich.console import Console

from jobs.ports import listens
from results.tracking_uri import redacted

from .problems import UserError
from .publish import PAGE
from .show import line

HOST = "127.0.0.1"
START_S = 180.0
"""MLflow takes some ten seconds to start, and minutes where others work on the machine."""

END_S = 10.0
POLL_S = 0.2
# nothing is told of how its pages are used, and there is nothing for it to run
MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
TYPES = {
    ".html": "text/html",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".tex": "text/plain",
    ".jsonl": "application/jsonl",
    ".png": "image/png",
    ".pdf": "application/pdf",
    ".svg": "image/svg+xml",
}


def serve(files: Mapping[str, Path], uri: str | None, port: int, console: Console) -> int:
    """Serve a report's files, and MLflow where the sweep has its own store, until Ctrl-C.

    Args:
        files: What the report is, by name; the page is what `/` leads to.
        uri: MLflow's store; a server's is named and not started again. None: there is none.
        port: The report's; MLflow takes the next one. 0: any that are free.
        console: Where the addresses are told.

    Returns:
        0 when it was ended by Ctrl-C or SIGTERM; 1 if MLflow ended by itself.

    Raises:
        UserError: A port is taken, or MLflow does not start.
    """
    own_store = uri if uri and not uri.startswith(("http:", "https:", "databricks")) else None
    mlflow_port = _free_port(port and port + 1) if own_store else 0
    with _stopped_by_signals() as stopped, contextlib.ExitStack() as stack:
        mlflow = f"http://{HOST}:{mlflow_port}/" if own_store else uri
        server = stack.enter_context(_report_server(files, mlflow, port))
        line(console, f"Report: http://{HOST}:{server.server_address[1]}/")
        process = None
        if own_store:
            process = stack.enter_context(_mlflow(own_store, mlflow_port, stopped))
        if mlflow:
            line(console, f"MLflow: {redacted(mlflow)}")
        line(console, "Ctrl-C ends it.")
        while not stopped.wait(POLL_S):
            if process and process.poll() is not None:
                line(console, "MLflow ended by itself, so the report does too.")
                return 1
    return 0


def _free_port(port: int) -> int:
    """Return the port if nothing has it, or any that is free for 0.

    Raises:
        UserError: It is taken.
    """
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise _taken(port, error) from None
        return int(probe.getsockname()[1])


def _taken(port: int, error: Exception) -> UserError:
    return UserError(f"port {port} of {HOST} cannot be had ({error}); choose another with --port")


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, while within."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _report_server(
    files: Mapping[str, Path], mlflow: str | None, port: int
) -> Iterator[ThreadingHTTPServer]:
    class Handler(_Handler):
        served, mlflow_address = files, mlflow

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise _taken(port, error) from None
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Gives the report's files and nothing else; reads them anew each time."""

    served: Mapping[str, Path] = {}
    mlflow_address: str | None = None

    def do_GET(self) -> None:  # noqa: N802, http.server's name for it
        """Answer with a file, or with the way to MLflow."""
        # a page of another site may lead its own name here: only ours is answered
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        name = self.path.partition("?")[0].lstrip("/") or PAGE
        if host not in (HOST, "localhost"):
            self.send_error(403, "Only for this machine")
        elif name == "mlflow" and self.mlflow_address:
            self.send_response(302)
            self.send_header("Location", self.mlflow_address)
            self.end_headers()
        elif name in self.served and self.served[name].is_file():
            self._send(self.served[name])
        else:
            self.send_error(404, "Not part of the report")

    def _send(self, path: Path) -> None:
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", f"{TYPES[path.suffix]}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, its name there
        """Say nothing of requests."""


@contextlib.contextmanager
def _mlflow(
    uri: str, port: int, stopped: threading.Event
) -> Iterator[subprocess.Popen[bytes] | None]:
    """MLflow's server with all its workers, from when it answers until the end of the block."""
    # its log, and whatever it writes where it stands, go with the folder
    with tempfile.TemporaryDirectory(prefix="harness-serve-") as folder:
        log = Path(folder) / "mlflow.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
                + ["--host", HOST, "--port", str(port), "--workers", "1"],
                cwd=folder,
                env=os.environ | MLFLOW_SETTINGS,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we end it, and its workers with it
            )
        try:
            _await_answer(process, port, log, stopped)
            yield process
        finally:
            _end(process)


def _await_answer(
    process: subprocess.Popen[bytes], port: int, log: Path, stopped: threading.Event
) -> None:
    deadline = time.monotonic() + START_S
    while not listens(HOST, port):
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            what = "ended while it started" if ended else f"gave no answer within {START_S:g} s"
            last = log.read_text(errors="replace").strip().splitlines()[-5:]
            raise UserError("\n".join([f"MLflow {what}; the last that it said:", *last]))
        if stopped.wait(POLL_S):
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its group, whether they want to or not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
