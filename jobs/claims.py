"""What a partial folder was begun for: the step, its arguments and its inputs, kept beside its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.placing import CLAIM_FILE


def claim_in(partial: Path) -> dict[str, Any]:
    """The claim of a partial folder; empty where there is none, or what is there belongs to nobody."""
    try:
        return json.loads((partial / CLAIM_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which arguments and inputs differ between two claims, by name."""
    was, has = _flat(before), _flat(now)
    names = (name for name in was | has if was.get(name) != has.get(name))
    return ", ".join(dict.fromkeys(name.removeprefix("arguments.").removeprefix("inputs.") for name in names))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
