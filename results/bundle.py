"""Bundle: files in one zip, the same files to the same bytes, with a digest of each."""

from __future__ import annotations

import hashlib
import os
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path

SUMS = "SHA256SUMS"
"""Digests in the form that `sha256sum --check` reads."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold: the clock has no part in its bytes."""

_UNIX = 3
_MODE = 0o100644 << 16


def write_bundle(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a zip whole or not at all.

    Args:
        path: The zip; its folder is made if it is not there.
        files: Content by path in the zip, with `/` between folders; `SHA256SUMS` is added.

    Raises:
        ValueError: A path leaves the zip.
        OSError: The folder cannot be written.
    """
    for name in files:
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"A path in a bundle must stay within it, but got {name!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name, content in sorted({**files, SUMS: _sums(files)}.items()):
                archive.writestr(_entry(name), content)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _sums(files: Mapping[str, bytes]) -> bytes:
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return "".join(lines).encode()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = _UNIX
    entry.external_attr = _MODE
    return entry
