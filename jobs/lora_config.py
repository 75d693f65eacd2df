"""What a peft configuration asks for: read, refused where it cannot be computed, matched to modules as peft does."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jobs.adapters import CONFIG_FILE, read_adapter_config
from jobs.errors import UserError
from jobs.json_object import expect

INITS = (True, False, "gaussian", "orthogonal")  # the others change the base (pissa, olora …) or the arithmetic (mica)
KNOWN = set(
    "auto_mapping base_model_name_or_path exclude_modules inference_mode init_lora_weights layers_pattern "
    "layers_to_transform lora_alpha lora_dropout megatron_core peft_type peft_version qalora_group_size r rank_pattern "
    "alpha_pattern revision runtime_config target_modules task_type use_dora use_rslora".split()
)  # keys that are computed with here, or change nothing; of any other, only a value that says "not used" is accepted


def read_lora_config(adapter: Path) -> dict[str, Any]:
    """adapter_config.json of an adapter that can be merged; `UserError` names the first key that stands against it."""
    path, config = adapter / CONFIG_FILE, read_adapter_config(adapter)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise UserError(f"{path}: peft_type {kind} is not supported, only LORA")
    for key in sorted(config.keys() - KNOWN):
        if config[key] and (key, config[key]) != ("bias", "none"):
            raise UserError(f"{path}: {key}={config[key]!r} cannot be merged; train without it")
    if (init := config.get("init_lora_weights", True)) not in INITS:
        raise UserError(f"{path}: init_lora_weights={init!r} cannot be merged; train with another of {INITS}")
    _check_patterns(path, config)
    _check_modules(path, config)
    return config


def _check_patterns(path: Path, config: Mapping[str, Any]) -> None:
    rank_pattern, alpha_pattern = (
        expect(config.get(key) or {}, dict, f"{path}: {key}") for key in ("rank_pattern", "alpha_pattern")
    )
    ranks, alphas = [config.get("r"), *rank_pattern.values()], [config.get("lora_alpha"), *alpha_pattern.values()]
    if not all(type(rank) is int and rank > 0 for rank in ranks):
        raise UserError(f"{path}: r and rank_pattern must be whole numbers above 0")
    if not all(type(alpha) in (int, float) and math.isfinite(alpha) for alpha in alphas):
        raise UserError(f"{path}: lora_alpha and alpha_pattern must be numbers")
    _check_expressions(path, (*rank_pattern, *alpha_pattern))


def _check_modules(path: Path, config: Mapping[str, Any]) -> None:
    """What `is_listed` takes: names or an expression of modules and of their lists, numbers of layers."""
    for key in ("target_modules", "exclude_modules", "layers_pattern"):
        value = config.get(key) or []
        for name in [value] if isinstance(value, str) else expect(value, list, f"{path}: {key}"):
            expect(name, str, f"{path}: {key}")
        if isinstance(value, str) or key == "layers_pattern":
            _check_expressions(path, [value] if isinstance(value, str) else value)
    layers = config.get("layers_to_transform")
    for layer in layers if isinstance(layers, list) else [0 if layers is None else layers]:
        expect(layer, int, f"{path}: layers_to_transform")


def _check_expressions(path: Path, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"{path}: {pattern!r} is not a regular expression ({error}); mend the pattern") from None


def by_pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """The value of the first pattern that the end of a module's name matches (peft's `get_pattern_key`)."""
    patterns = patterns or {}
    found = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module))
    return next(found, patterns.get(module, default))


def is_listed(config: Mapping[str, Any], module: str) -> bool:
    """Whether peft would put an update beside this linear layer (its `check_target_module_exists`)."""
    if _names(config.get("exclude_modules"), module):
        return False
    targets, layers = config.get("target_modules"), config.get("layers_to_transform")
    if isinstance(targets, str) or module in (targets or ()) or layers is None or layers == []:
        return _names(targets, module)
    patterns = config.get("layers_pattern") or r"[^.]*"
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if found := re.match(rf"(?:^|.*?\.){pattern}\.(?P<layer>\d+)\.", module):
            return _names(targets, module) and int(found["layer"]) in ([layers] if isinstance(layers, int) else layers)
    return False


def _names(modules: str | list[str] | None, module: str) -> bool:
    if isinstance(modules, str):
        return bool(modules) and re.fullmatch(modules, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in modules or ())
