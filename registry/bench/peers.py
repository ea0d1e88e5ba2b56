"""The dense engines of others: Inductor, OpenVINO, ONNX Runtime. Each is asked for lazily."""

from __future__ import annotations

import copy
import importlib.util
import io
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .runners import Runner, Scores, without_gradients

_TALKATIVE = ("torch.onnx", "onnxscript", "onnx_ir")
_MANY_PROGRAMS = 1_000
"""Dynamo gives up on a forward that it has compiled for this many recognizers."""


def missing(*packages: str) -> str:
    """Return which packages are not installed and how to get them, "" where all are."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    return f"{', '.join(absent)} not installed: pip install 'vared-harness[bench]'"


def no_compiler() -> str:
    """Return why Inductor cannot compile here, "" where it can."""
    candidates = [os.environ.get("CXX", ""), "g++", "clang++"]
    if any(shutil.which(name) for name in candidates if name):
        return ""
    return "no C++ compiler found (looked for $CXX, g++, clang++)"


def inductor(recognizer: nn.Module, example: Tensor, dtype: torch.dtype) -> Runner:
    """`torch.compile` with the weights frozen into the program; compiled here, not when timed."""
    from torch._dynamo import config as dynamo_config
    from torch._inductor import config as inductor_config

    scores = Scores(copy.deepcopy(recognizer).to(dtype), dtype).eval()
    run = without_gradients(torch.compile(scores, dynamic=False, fullgraph=True))
    with (
        inductor_config.patch(freezing=True),
        dynamo_config.patch(recompile_limit=_MANY_PROGRAMS),
    ):
        run(example)
    return Runner(run)


def openvino(recognizer: nn.Module, example: Tensor, dtype: torch.dtype) -> Runner:
    """OpenVINO's CPU plugin on the exported graph, tuned for latency."""
    import openvino as ov

    hint = {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
    settings = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    with _quiet():
        model = ov.convert_model(_exported(recognizer, example), example_input=(example,))
    model.reshape(list(example.shape))
    request = ov.compile_model(model, "CPU", settings).create_infer_request()

    def run(inputs: Tensor) -> Tensor:
        results = request.infer([inputs.numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(np.array(results[0]))

    return Runner(run)


def onnxruntime(recognizer: nn.Module, example: Tensor, dtype: torch.dtype) -> Runner:
    """ONNX Runtime's CPU provider on the exported graph."""
    import onnxruntime as ort

    file = io.BytesIO()
    with _quiet():
        program: Any = torch.onnx.export(
            _exported(recognizer, example), dynamo=True, verbose=False, optimize=True
        )
        program.save(file)
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())

    def run(inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])

    return Runner(run)


def _exported(recognizer: nn.Module, example: Tensor) -> Any:
    scores = Scores(copy.deepcopy(recognizer), torch.float32).eval()
    with torch.no_grad():
        return torch.export.export(scores, (example,))


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters log and warn about themselves; what comes out is checked against stock anyway."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
