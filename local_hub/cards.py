"""README front matter: reading it, and the checks that the Hub makes before it accepts one."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:^---[ \t]*(?:\r?\n|\Z))", re.DOTALL | re.MULTILINE)

_LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0
openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown other
"""
LICENSES = set(_LICENSES.split())
RELATIONS = {"adapter", "merge", "quantized", "finetune"}
SPACE_SDKS = {"gradio", "docker", "static"}
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


class CardError(ValueError):
    """Front matter that is no YAML mapping."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, as the Hub's parser does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicated key {key!r}", node.start_mark)
        return super().construct_mapping(node, deep)


def front_matter(text: str) -> dict[str, Any]:
    """The card's metadata as plain JSON values; empty without front matter; CardError if it is broken."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return {}
    try:
        data = _Loader(match[1]).get_single_data()
    except (yaml.YAMLError, ValueError, TypeError) as error:  # ValueError: an impossible date; TypeError: a list as key
        raise CardError(f"Invalid YAML in README.md front matter: {' '.join(str(error).split())}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise CardError("Invalid front matter in README.md: it must be a mapping of keys to values")
    return json.loads(json.dumps(data, default=str))


def safe_front_matter(text: str) -> dict[str, Any]:
    """The same for readers, to whom a broken card is an empty one."""
    try:
        return front_matter(text)
    except CardError:
        return {}


def as_list(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [str(item) for item in values]


def validate(text: str, kind: str) -> tuple[list[str], list[str]]:
    """Errors and warnings of a card of this repository type."""
    try:
        data = front_matter(text)
    except CardError as error:
        return [str(error)], []
    if not data and kind == "space":
        return ["Missing configuration in README.md: a Space needs front matter with its sdk"], []
    if not data:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = [*_common_errors(data), *(_space_errors(data) if kind == "space" else _model_errors(data))]
    return errors, []


def _common_errors(data: dict[str, Any]) -> Iterator[str]:
    for licence in as_list(data.get("license")):
        if licence not in LICENSES:
            yield f'"license" must be one of the Hub\'s licence identifiers, got {licence!r} (or use "other")'
    for key in ("tags", "datasets", "language", "base_model"):
        value = data.get(key)
        items = value if isinstance(value, list) else [value]
        if value is not None and not all(isinstance(item, str) for item in items):
            yield f'"{key}" must be a string or a list of strings'


def _model_errors(data: dict[str, Any]) -> Iterator[str]:
    relation = data.get("base_model_relation")
    if relation is not None and relation not in RELATIONS:
        yield f'"base_model_relation" must be one of {", ".join(sorted(RELATIONS))}, got {relation!r}'
    for base in as_list(data.get("base_model")):
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base):
            yield f'"base_model" must be a repository id on the Hub, got {base!r}'
    if "model-index" in data:
        yield from _model_index_errors(data["model-index"])


def _model_index_errors(index: Any) -> Iterator[str]:
    if not isinstance(index, list) or not all(isinstance(model, dict) for model in index):
        yield '"model-index" must be a list of models'
        return
    for n, model in enumerate(index):
        if not isinstance(model.get("name"), str):
            yield f'"model-index[{n}].name" is required'
        for m, result in enumerate(model.get("results") or [{}]):
            missing = {"task", "dataset", "metrics"} - set(result)
            if missing:
                yield f'"model-index[{n}].results[{m}]" lacks {", ".join(sorted(missing))}'


def _space_errors(data: dict[str, Any]) -> Iterator[str]:
    if data.get("sdk") not in SPACE_SDKS:
        yield f'"sdk" must be one of {", ".join(sorted(SPACE_SDKS))}, got {data.get("sdk")!r}'
    for key in ("colorFrom", "colorTo"):
        if key in data and data[key] not in COLORS:
            yield f'"{key}" must be one of {", ".join(sorted(COLORS))}, got {data[key]!r}'
    if len(str(data.get("short_description", ""))) > 60:
        yield '"short_description" must be at most 60 characters long'
