"""JSON that others wrote: objects and values of the kind asked for; of any other, one line says what and where."""

from __future__ import annotations

import json
import math
import re
import reprlib
from pathlib import Path
from typing import Any, TypeVar

from jobs.errors import UserError

Kind = TypeVar("Kind", dict, list, str, int, bool)
NAMES = {dict: "an object", list: "a list", str: "a text", int: "a whole number", bool: "true or false"}
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half a character as JSON escapes it; no bytes stand for one alone
LARGEST = {int: 2**31 - 1, float: 3.4e38}  # that 32 bits hold


def read_object(path: Path, advice: str) -> dict[str, Any]:
    """The object in a file. Raises `UserError`, which ends with `advice`, for a file that is absent or holds none."""
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {advice}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds no JSON object; {advice}")
    return value


def expect(value: Any, kind: type[Kind], what: str) -> Kind:
    """The value, if it is of that kind (true and false are no numbers). The error begins with `what`."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{what} is {reprlib.repr(value)}, not {NAMES[kind]}")
    return value


def number(value: Any, kind: type, what: str, *, positive: bool = False) -> Any:
    """An int, or a float, that 32 bits hold."""
    fits = isinstance(value, int | kind) and not isinstance(value, bool) and -LARGEST[kind] <= value <= LARGEST[kind]
    if not fits or not math.isfinite(value) or (positive and value <= 0):
        named = "whole number" if kind is int else "number"
        raise UserError(f"{what} is {reprlib.repr(value)}, not a {'positive ' * positive}{named}")
    return kind(value)
