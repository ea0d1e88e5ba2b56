"""Read a YAML file into plain data; what is wrong with it is said with file and line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from .problems import BudgetsError, nearest


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, less two of its traps: `1e-3` as text, and a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if str(key) in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(str(key))
        return super().construct_mapping(node, deep)


# YAML 1.1 wants a dot in every float; people write 1e-3 (yaml/pyyaml#173)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping that the file's root is.

    Raises:
        BudgetsError: The file is missing, unreadable, no YAML, or its root is something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.load(text, _Loader)  # noqa: S506 - derives from SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        hint = "" if path.exists() else _nearest_file(path)
        raise BudgetsError(str(path), [f"cannot be read: {reason}.{hint}"]) from None
    except yaml.YAMLError as error:
        raise BudgetsError(str(path), [_syntax(error)]) from None
    if not isinstance(document, dict):
        kind = "empty" if document is None else f"a {type(document).__name__}"
        raise BudgetsError(str(path), [f"the root must be a mapping of keys, but is {kind}"])
    return {str(key): value for key, value in document.items()}


def read_value(text: str) -> Any:
    """Return what a piece of YAML on the command line stands for.

    Raises:
        ValueError: It is no YAML.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - derives from SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"must be YAML, but {_syntax(error)}: {text!r}") from None


def _nearest_file(path: Path) -> str:
    files = [file.name for ending in ("yaml", "yml") for file in path.parent.glob(f"*.{ending}")]
    return nearest(path.name, files)


def _syntax(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}{getattr(error, 'problem', None) or error}"
