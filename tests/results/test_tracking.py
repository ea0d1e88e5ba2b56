"""MLflow as a mirror: a real SQLite store, sent to twice, and stores that do not answer."""

from __future__ import annotations

import http.server
import os
import socket
import threading
import time

import pytest

from results.tracking import TrackingError, default_uri, sync

pytestmark = [
    # SQLAlchemy 2.1 deprecates a loader that MLflow 3.17 still uses
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
]


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """One database for the module, since making its tables takes seconds. Sweeps share it."""
    return default_uri(tmp_path_factory.mktemp("runs of ünicode") / "sweep")


@pytest.fixture
def runs_of(uri):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)

    def runs_of(sweep):
        experiment = client.get_experiment_by_name(sweep)
        runs = client.search_runs([experiment.experiment_id])
        children = {r.data.tags["trial.key"]: r for r in runs if "trial.key" in r.data.tags}
        parents = [r for r in runs if "trial.key" not in r.data.tags]
        assert len(children) + len(parents) == len(runs), "a trial has two runs"
        return client, parents, children

    return runs_of


def test_every_trial_becomes_a_child_with_its_figures(uri, runs_of, make_record, tmp_path):
    record = make_record(seed=1, top1=0.8)
    failed = make_record(seed=2, failed=True)
    picture = tmp_path / "pareto.png"
    picture.write_bytes(b"picture")
    result = sync([record, failed], "figures", [picture], uri)

    client, (parent,), children = runs_of("figures")
    child = children[record.key]
    assert (result.num_added, result.parent_run_id) == (2, parent.info.run_id)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["environment.torch"] == "2.13.0"
    assert child.data.params["recognizer.settings.depth"] == "50"
    assert child.data.params["method.name"] == "vared"
    assert not any("label" in name for name in child.data.params)
    assert child.data.metrics["accuracy_top1"] == record.accuracy.top1
    assert child.data.metrics["macs_share"] == record.macs.share
    assert child.data.metrics["macs_executed_mean"] == record.macs.mean
    assert child.data.metrics["latency_ms_p50"] == record.latency.ms_p50
    history = client.get_metric_history(child.info.run_id, "epoch/loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.0), (2, 1.0)]
    assert child.info.end_time - child.info.start_time == 60_000
    assert (child.info.status, children[failed.key].info.status) == ("FINISHED", "FAILED")
    assert children[failed.key].data.tags["failure.message"] == "out of memory"
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["pareto.png"]


def test_sending_twice_changes_nothing(uri, runs_of, make_record):
    records = [make_record(seed=seed) for seed in range(3)]
    sync(records, "twice", [], uri)
    _, parents, before = runs_of("twice")
    result = sync(records, "twice", [], uri)
    _, parents_after, after = runs_of("twice")

    assert (result.num_added, result.num_replaced, result.num_unchanged) == (0, 0, 3)
    assert [p.info.run_id for p in parents] == [p.info.run_id for p in parents_after]
    assert {k: r.to_dictionary() for k, r in before.items()} == {
        k: r.to_dictionary() for k, r in after.items()
    }


def test_a_trial_run_again_replaces_its_run(uri, runs_of, make_record):
    sync([make_record(seed=1, failed=True)], "again", [], uri)
    record = make_record(seed=1)
    result = sync([record], "again", [], uri)

    _, (parent,), children = runs_of("again")
    assert (result.num_added, result.num_replaced) == (0, 1)
    assert children[record.key].info.status == "FINISHED"
    assert parent.data.tags["num_failed"] == "0"


def test_a_run_that_was_cut_off_is_sent_anew(uri, runs_of, make_record):
    record = make_record()
    sync([record], "cut off", [], uri)
    client, _, children = runs_of("cut off")
    client.set_terminated(children[record.key].info.run_id, "KILLED")

    assert sync([record], "cut off", [], uri).num_replaced == 1


def test_more_than_mlflow_takes_in_one_call_is_sent_in_parts(uri, runs_of, make_record):
    history = tuple({"epoch": float(i), "loss": 1 / i} for i in range(1, 1201))
    trial = {"method": {"name": "vared", "settings": {f"s{i}": i for i in range(150)}}}
    trial["text"] = "x" * 10_000
    record = make_record(history=history, trial=trial, environment={"a:b c/é": "v" * 9000})
    sync([record], "large", [], uri)

    client, _, children = runs_of("large")
    run = children[record.key]
    assert len(run.data.params) == 150 + 2
    assert len(client.get_metric_history(run.info.run_id, "epoch/loss")) == 1200
    assert run.data.tags["environment.a_b c/_"].startswith("vvv")


def test_a_sweep_may_be_called_anything(uri, runs_of, make_record):
    name = 'it\'s "100 %"; DROP TABLE runs --'
    sync([make_record()], name, [], uri)
    sync([make_record()], name, [], uri)
    assert len(runs_of(name)[2]) == 1


def test_artifacts_lie_beside_the_database(tmp_path_factory, uri, runs_of, make_record, tmp_path):
    file = tmp_path / "a file.csv"
    file.write_text("x")
    sync([make_record()], "artifacts", [file], uri)
    folder = next(tmp_path_factory.getbasetemp().glob("runs of*")) / "sweep" / "mlartifacts"
    assert [path.read_text() for path in folder.rglob("a file.csv")] == ["x"]


def test_the_environment_is_as_before(uri, make_record):
    before = dict(os.environ)
    sync([make_record()], "environment", [], uri)
    assert dict(os.environ) == before


@pytest.fixture
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("http://127.0.0.1:{port}", "No MLflow store answers"),
        ("postgresql://me:secret@127.0.0.1:{port}/db", "No MLflow store answers"),
        ("sqlite:///{file}/mlflow.db", "No MLflow store answers"),
        ("sqlite:///{file}", "not a database"),
        ("sqlite://", "in memory"),
        ("./mlruns", "no longer keeps runs in plain folders"),
        ("file:///tmp/mlruns", "no longer keeps runs in plain folders"),
        ("gopher://host", "must begin with one of sqlite, http"),
    ],
)
def test_a_store_that_cannot_be_is_one_quick_error(
    make_record, tmp_path, free_port, template, message
):
    file = tmp_path / "in the way"
    file.write_text("not a database, and not a folder either")
    uri = template.format(port=free_port, file=file)
    start = time.monotonic()
    with pytest.raises(TrackingError, match=message) as error:
        sync([make_record()], "sweep", [], uri)

    assert time.monotonic() - start < 8
    assert "secret" not in str(error.value)
    if uri != "sqlite://":
        assert uri.replace("secret", "***") in str(error.value)


@pytest.fixture
def server():
    """A web server that is not MLflow: its answer to everything is the status asked for."""
    started = []

    def start(status):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 (the base class names it)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_server_that_is_not_mlflow_is_one_quick_error(make_record, server, status):
    uri = server(status)
    start = time.monotonic()
    with pytest.raises(TrackingError) as error:
        sync([make_record()], "sweep", [], uri)
    assert uri in str(error.value)
    assert time.monotonic() - start < 10
