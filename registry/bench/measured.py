"""The latency table as trials need it: measured in a process of its own, from a plain question.

In a process of its own, since measuring sets the allocator for good (`memory.py`), and a trial that
measured would then report other times than one that read them.

    python -m registry.bench.measured ANSWER < QUESTION
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..interfaces import ClipShape, InputFormat
from ..settings import Settings
from ..vared import engine
from ..vared.settings import Axis, VaRedSettings
from ..vared.times import MachineTimes, MeasuredLayer
from .layers import Half, LayerTable, LayerTime, layer_table
from .machine import processor
from .subject import subject_of_config
from .timing import Pace
from .variants import DTYPES

NUM_ROUNDS = 31

_LAYER = ("cheap", "placement", "keep")
"""Settings that change what a reduced layer takes."""


class Question(Settings):
    """Of what the times are wanted.

    Args:
        config: MMEngine `model` config of the dense recognizer.
        num_frames: Frames of a clip.
        size: Side of the square in pixels.
        input_format: How MMAction2 packs a clip.
        layer: Settings of the method that change what a reduced layer takes.
        num_threads: Threads to compute with.
        dtype: Data type of the arithmetic.
    """

    config: dict[str, Any]
    num_frames: int
    size: int
    input_format: InputFormat
    layer: dict[str, str]
    num_threads: int
    dtype: str = "float32"

    @property
    def key(self) -> str:
        """What the answer on this machine can be remembered by."""
        asked = self.model_dump_json()
        text = "\n".join([processor(), torch.__version__, _sources_digest(), asked])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _sources_digest() -> str:
    """Whatever may change what a layer takes, or how that is measured."""
    files = [*Path(engine.__file__).parent.glob("*.py"), *Path(__file__).parent.glob("*.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


def question(
    config: dict[str, Any],
    clip: ClipShape,
    settings: VaRedSettings,
    num_threads: int,
    dtype: str = "float32",
) -> Question:
    """Return the question after the layers of a recognizer under some settings of the method."""
    layer = settings.model_dump(mode="json", include=set(_LAYER))
    return Question(config=config, **vars(clip), layer=layer, num_threads=num_threads, dtype=dtype)


def answer(asked: Question, num_rounds: int = NUM_ROUNDS) -> MachineTimes:
    """Time the layers, all interleaved. It sets this process's allocator for good."""
    # gates that cost next to nothing, so that none is left out since it costs more than it saves
    settings = VaRedSettings(**asked.layer, weights="hard", gate_width=1, gate_stride=64)
    clip = ClipShape(asked.num_frames, asked.size, asked.input_format)
    subject = subject_of_config("the recognizer", asked.config, clip, settings)
    pace = Pace(num_rounds)
    return times_of(layer_table(subject, DTYPES[asked.dtype], asked.num_threads, pace))


def answer_apart(asked: Question) -> MachineTimes:
    """Time the layers in a process of its own.

    Raises:
        ValueError: It failed; with what it said last.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answer.json"
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(file)],
            input=asked.model_dump_json(),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            start_new_session=True,  # a Ctrl-C is for its parent to hear
        )
        if done.returncode != 0 or not file.exists():
            last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
            raise ValueError(f"the times of layers could not be measured: {last[0]}")
        return MachineTimes.model_validate_json(file.read_bytes())


def times_of(table: LayerTable) -> MachineTimes:
    """Return a latency table as the method needs it."""
    return MachineTimes(
        processor=table.machine.processor,
        num_threads=table.machine.num_threads,
        dtype=table.dtype,
        num_rounds=table.num_rounds,
        num_cores=table.machine.num_cores,
        load=table.machine.load_after,
        layers=tuple(_measured(layer) for layer in table.layers),
    )


def _measured(layer: LayerTime) -> MeasuredLayer:
    halves: dict[Axis, Half | None] = {"channel": layer.channels, "time": layer.frames}
    found = {axis: half for axis, half in halves.items() if half is not None}
    return MeasuredLayer(
        layer=layer.layer,
        full_ms=layer.full_ms,
        channels_ms=layer.channels and layer.channels.ms,
        frames_ms=layer.frames and layer.frames.ms,
        both_ms=layer.both_ms,
        idle=tuple(axis for axis, half in found.items() if not half.likely_pays),
        undecided=tuple(axis for axis, half in found.items() if half.pays is None),
    )


if __name__ == "__main__":
    found = answer(Question.model_validate_json(sys.stdin.read()))
    Path(sys.argv[1]).write_text(found.model_dump_json(), encoding="utf-8")
