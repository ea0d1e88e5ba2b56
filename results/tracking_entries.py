"""What a record becomes in MLflow: names, tags, parameters and metrics, as plain values."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from .frontier import engine_saving, realised_saving
from .record import Record

_MAX_VALUE_LENGTH = 5000  # MLflow takes 6000 in a parameter and 8000 in a tag
_FORBIDDEN_IN_NAMES = re.compile(r"[^A-Za-z0-9_\-./ ]")


class MetricPoint(NamedTuple):
    """One value of a metric: at an epoch of the history, or at the end (step 0)."""

    key: str
    value: float
    timestamp_ms: int
    step: int = 0


def digest(record: Record) -> str:
    """Changes whenever anything in the record does."""
    return hashlib.sha256(record.model_dump_json().encode()).hexdigest()


def run_name(record: Record) -> str:
    """What a list of runs shows: recognizer, method, budget and seed."""
    budget = "" if record.budget is None else f" at {record.budget:g}"
    return f"{record.recognizer} {record.method}{budget} seed {record.seed}"


def tags(record: Record) -> dict[str, str]:
    """Labels, environment and what went wrong: all that describes and is not a number."""
    described = {
        "dataset": record.dataset,
        "recognizer": record.recognizer,
        "method": record.method,
        "status": record.status,
        "budget_status": record.budget_status,
        "code_revision": record.code_revision,
        "manifest_digest": record.manifest_digest,
        "warnings": "\n".join(record.warnings),
        **{f"environment.{name}": value for name, value in record.environment.items()},
    }
    if record.failure is not None:
        described |= {
            "failure.kind": record.failure.kind,
            "failure.message": record.failure.message,
            # the end of a traceback says what happened
            "failure.traceback": record.failure.traceback[-_MAX_VALUE_LENGTH:],
        }
    return {_plain(name): _short(value) for name, value in described.items() if value}


def params(record: Record) -> dict[str, str]:
    """The resolved trial, flat: nested names joined by dots. Labels are tags, not parameters."""
    flat = dict(_flat(record.trial))
    return {_plain(name): _short(value) for name, value in flat.items()}


def metrics(record: Record) -> list[MetricPoint]:
    """Final figures at step 0, and under `epoch/` the history at the epochs it is of."""
    time_ms = milliseconds(record.finished_at) or 0
    final = [MetricPoint(k, v, time_ms) for k, v in _final(record).items() if v is not None]
    history = [
        MetricPoint(_plain(f"epoch/{name}"), value, time_ms, int(entry.get("epoch", index)))
        for index, entry in enumerate(record.history, start=1)
        for name, value in entry.items()
        if name != "epoch"
    ]
    return final + history


def milliseconds(moment: str) -> int | None:
    """An ISO 8601 moment as milliseconds since 1970; `None` for an empty or unreadable one."""
    try:
        return int(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() * 1000)
    except ValueError:
        return None


def _final(record: Record) -> dict[str, float | None]:
    figures: dict[str, float | None] = {
        "num_params": record.num_params,
        "num_params_dense": record.num_params_dense,
        "train_time_s": record.train_time_s,
        "loader_wait_s": record.loader_wait_s,
        "wall_time_s": record.wall_time_s,
        "num_steps": record.num_steps,
        "rho": realised_saving(record),
        "rho_engine": engine_saving(record),
    }
    if record.accuracy is not None:
        figures |= _prefixed("accuracy_", record.accuracy.model_dump())
    if record.macs is not None:
        figures |= {"macs_share": record.macs.share, "macs_dense": record.macs.dense}
        figures |= _prefixed("macs_executed_", record.macs.model_dump(exclude={"dense"}))
    if record.latency is not None:
        figures |= _prefixed("latency_", record.latency.model_dump(exclude_none=True))
    if record.engine is not None:
        figures |= _prefixed("engine_", record.engine.model_dump())
    return figures


def _prefixed(prefix: str, figures: Mapping[str, float]) -> dict[str, float | None]:
    return {prefix + name: value for name, value in figures.items()}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if name == "label":
            continue
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            text = inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)
            yield f"{prefix}{name}", text


def _plain(name: str) -> str:
    return _FORBIDDEN_IN_NAMES.sub("_", name)


def _short(value: str) -> str:
    return value if len(value) <= _MAX_VALUE_LENGTH else value[: _MAX_VALUE_LENGTH - 1] + "…"
