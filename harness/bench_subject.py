"""What `harness bench` times: a recognizer with drawn routes, a trial, or weights in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.store import Store

from .bench_request import Request
from .problems import UserError
from .single import find

if TYPE_CHECKING:
    from registry.bench.bout import Options
    from registry.bench.subject import Subject


def subject_of(request: Request, options: Options) -> tuple[str, Subject]:
    """Return the name for its files, and what is to be timed.

    Raises:
        UserError: It is not to be had.
    """
    from registry._mmaction import import_mmaction, quiet_logging

    import_mmaction()
    with quiet_logging():
        try:
            if request.checkpoint is not None:
                num_clips = max(options.num_clips, *options.batches)
                return _loaded(request, request.checkpoint, num_clips)
            return _trained(request) if request.is_trial else _random(request, options)
        except (ValueError, OSError) as error:
            raise UserError(str(error)) from error


def _random(request: Request, options: Options) -> tuple[str, Subject]:
    from registry.bench.measured import question
    from registry.bench.subject import SETTINGS, at_scale, subject_of_config
    from registry.vared.gating import gating_of
    from registry.vared.method import VaRedMethodSettings
    from registry.vared.times import with_gates_placed

    from .machine_times import times_here
    from .options import option_value

    name, values = request.subject, request.values
    config, clip = at_scale(name, values["scale"], values["size"], values["frames"])
    # forced routes weigh one, whatever gates would say
    forced: dict[str, Any] = {"weights": SETTINGS.weights}
    if values["gate-layers"] == "auto":
        forced["gate_layers"] = "auto"
    text = values["method-settings"]
    settings = option_value("method-settings", VaRedMethodSettings, text).model_copy(update=forced)
    times = None
    if settings.gate_layers == "auto":
        asked = question(config, clip, settings, request.threads, options.dtypes[0])
        times = times_here(asked, request.runs)
    settings, gates = with_gates_placed(settings, times), gating_of(settings, times)
    what = f"{name} with {text}" if "method-settings" in request.asked else name
    subject = subject_of_config(what, config, clip, settings, gates=gates)
    return f"{name}-{values['scale']}", subject


def _trained(request: Request) -> tuple[str, Subject]:
    from .trained import trained

    store = Store(request.runs)
    folder = find(store, request.subject)
    return folder.path.name, trained(store, folder, request.data_root)


def _loaded(request: Request, file: Path, num_clips: int) -> tuple[str, Subject]:
    from .loaded import loaded

    return f"{request.subject}-{file.stem}", loaded(request, file, num_clips)
