"""Which base model an adapter belongs to: on another one it still loads, and answers nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.errors import UserError
from jobs.json_object import expect, read_object
from jobs.step import STEP_FILE, fingerprint, read_step

CONFIG_FILE = "adapter_config.json"


def base_of(adapter: Path) -> tuple[str, str]:
    """The base model that an adapter was trained on, folder or Hub id, and its revision."""
    config = read_adapter_config(adapter)
    name = expect(config.get("base_model_name_or_path"), str, f"{adapter / CONFIG_FILE}: base_model_name_or_path")
    revision = config.get("revision")
    if (adapter / STEP_FILE).is_file():
        revision = read_step(adapter).arguments.get("revision")
    return name, str(revision or "main")


def check_base_of(adapter: Path, base: str, revision: str) -> None:
    """Raise `UserError` unless `base` (Hub id, at `revision`, or folder) is what the adapter was trained on.

    An adapter that a step made tells by its record: the files of the folder, or repository and revision. Of any other
    adapter its configuration names the base in full.
    """
    if (adapter / STEP_FILE).is_file():
        _check_recorded(adapter, base, revision)
        return
    trained_on, at = base_of(adapter)
    same = Path(base).resolve() == Path(trained_on).resolve() if Path(base).exists() else base == trained_on
    if not same:
        raise UserError(f"{adapter}: was trained on {trained_on}, not on {base}; give its own base")
    if not Path(base).exists() and read_adapter_config(adapter).get("revision") and at != revision:
        raise UserError(f"{adapter}: was trained on {trained_on} at {at}, not at {revision}; give that revision")


def _check_recorded(adapter: Path, base: str, revision: str) -> None:
    record = read_step(adapter)
    trained_on, at = str(record.arguments.get("base")), str(record.arguments.get("revision"))
    if Path(base).exists():
        if record.inputs.get("base") != fingerprint(Path(base)):
            raise UserError(f"{adapter}: was trained on another base than {base} is now ({trained_on}); train it again")
        return
    if "base" in record.inputs and trained_on == base:
        raise UserError(f"{adapter}: was trained on the folder {base}, which is not there any more; give its place")
    if "base" in record.inputs or trained_on != base:
        raise UserError(f"{adapter}: was trained on {trained_on}, not on {base}; give its own base")
    if at != revision:
        raise UserError(f"{adapter}: was trained on {trained_on} at {at}, not at {revision}; give that revision")


def read_adapter_config(adapter: Path) -> dict[str, Any]:
    """What peft wrote of an adapter."""
    return read_object(adapter / CONFIG_FILE, "expected the configuration of a peft adapter")
