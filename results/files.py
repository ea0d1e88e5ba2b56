"""Files written whole or not at all, and read with an error that names them."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from .record import Record

_Model = TypeVar("_Model", bound=BaseModel)


class DamagedFileError(ValueError):
    """A file under the root that cannot be read as what it should be. The message names it."""


class StoreError(OSError):
    """The root cannot be written or read. The message names it."""


def write_atomic(path: Path, text: str) -> None:
    """Write `text` so that a reader, or a crash, meets the old file or the new one, never a part.

    Args:
        path: the file; its folder must exist.
        text: the content, written as UTF-8.

    Raises:
        OSError: the folder cannot be written.
    """
    # Created by open("x"), not mkstemp, whose mode 0600 would shut out a lab sharing the folder.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_jsonl(path: Path) -> list[Record]:
    """Records of a `records.jsonl`, in the order of its lines.

    Raises:
        DamagedFileError: a line is not a record; the message says which.
        FileNotFoundError: there is no such file.
    """
    lines = path.read_bytes().splitlines()
    return [parse(Record, line, f"{path}, line {n}") for n, line in enumerate(lines, start=1)]


def parse(model: type[_Model], data: bytes, where: str) -> _Model:
    """`data` as a `model`.

    Raises:
        DamagedFileError: it is not one; the message begins with `where` and says what is wrong.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise DamagedFileError(
            f"`{where}` must hold a {model.__name__}, but {field}: {first['msg']}"
        ) from None
