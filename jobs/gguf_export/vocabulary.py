"""A Qwen tokenizer as GGUF holds it: tokens and their kinds, merges, special tokens, chat template.

Read from the model's JSON files alone, as llama.cpp's `SpecialVocab` does. What the format cannot say, and llama.cpp
would therefore tokenise otherwise than transformers, is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError

if TYPE_CHECKING:
    import gguf

PRE_TOKENIZER = "qwen2"  # llama.cpp's name of the rule below
SPLIT = (  # of Qwen2, Qwen2.5 and Qwen3; Qwen3.5 has another
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
LISTS = ("additional_special_tokens", "extra_special_tokens")  # transformers 4's and 5's


def add_vocabulary(writer: gguf.GGUFWriter, model: Path, rows: int) -> None:
    """Write the `tokenizer.*` keys. Ids beyond the tokenizer's, up to `rows` of the embedding, are padding."""
    tokenizer, settings = _read(model / "tokenizer.json"), _read(model / "tokenizer_config.json")
    _check_rule(tokenizer, f"{model}/tokenizer.json")
    names, added = _names(tokenizer, settings, model)
    if max(names) >= rows:
        raise UserError(f"{model}: the tokenizer has ids up to {max(names)}, the embedding only {rows} rows")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in range(rows)])
    writer.add_token_types([_kind(number, names, added) for number in range(rows)])
    writer.add_token_merges(list(_merges(tokenizer)))
    for role, number in _special_ids(model, settings, added).items():
        getattr(writer, f"add_{role}_token_id")(number)
    # llama.cpp's converter leaves both out where the model does not say; told, no reader has to guess.
    writer.add_add_bos_token(bool(settings.get("add_bos_token", False)))
    writer.add_add_eos_token(bool(settings.get("add_eos_token", False)))
    if (template := _template(model, settings)) is not None:
        writer.add_chat_template(template)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); take it from the model's own repository") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds no settings; take it from the model's own repository")
    return value


def _check_rule(tokenizer: dict[str, Any], place: str) -> None:
    """Raise `UserError` unless text is split and joined as llama.cpp's rule of this name does."""
    model = tokenizer.get("model") or {}
    if model.get("type") != "BPE" or model.get("byte_fallback") or model.get("ignore_merges"):
        raise UserError(f"{place}: not a byte-level BPE as Qwen2 has it, so llama.cpp would tokenise otherwise")
    steps = tokenizer.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    patterns = [(step.get("pattern") or {}).get("Regex") for step in steps if step.get("type") == "Split"]
    if patterns != [SPLIT] or not any(step.get("type") == "ByteLevel" for step in steps):
        raise UserError(f"{place}: splits text by another rule than Qwen2's, which llama.cpp would not follow")
    processor = json.dumps(tokenizer.get("post_processor"))
    if '"SpecialToken"' in processor:
        raise UserError(f"{place}: puts special tokens around every text (post_processor); Qwen's own does not")


def _names(
    tokenizer: dict[str, Any], settings: dict[str, Any], model: Path
) -> tuple[dict[int, str], dict[int, dict[str, Any]]]:
    """Token by id, and of those added to the vocabulary, what tokenizer.json says of them, with transformers' marks."""
    names = {number: token for token, number in tokenizer["model"]["vocab"].items()}
    added = {entry["id"]: dict(entry) for entry in tokenizer.get("added_tokens", ())}
    names |= {number: entry["content"] for number, entry in added.items()}
    for number, entry in (settings.get("added_tokens_decoder") or {}).items():
        if names.get(int(number)) != entry["content"]:
            raise UserError(f"{model}: tokenizer_config.json and tokenizer.json differ in token {number}")
        added.setdefault(int(number), dict(entry))["special"] |= bool(entry.get("special"))
    marked = set(_marked(settings))
    if unknown := sorted(marked - set(names.values())):
        raise UserError(f"{model}: tokenizer_config.json names {unknown[0]!r}, which tokenizer.json has not")
    for entry in added.values():
        entry["special"] |= entry["content"] in marked
    return names, added


def _marked(settings: dict[str, Any]) -> Iterator[str]:
    """The tokens that tokenizer_config.json makes special."""
    for key, value in settings.items():
        if key in LISTS:
            values = value.values() if isinstance(value, dict) else value or ()
        elif key.removesuffix("_token") in ROLES:
            values = [value] if value else ()
        else:
            continue
        for token in values:
            yield token["content"] if isinstance(token, dict) else token


def _kind(number: int, names: dict[int, str], added: dict[int, dict[str, Any]]) -> int:
    import gguf

    if number not in names:
        return gguf.TokenType.UNUSED
    if number not in added:
        return gguf.TokenType.NORMAL
    # Added but not marked special, yet written like a control token: llama.cpp's converter makes it one too.
    control = added[number]["special"] or (names[number].startswith("<|") and names[number].endswith("|>"))
    return gguf.TokenType.CONTROL if control else gguf.TokenType.USER_DEFINED


def _merges(tokenizer: dict[str, Any]) -> Iterator[str]:
    """Each merge as two tokens with a space between; tokenizers before 0.20 wrote them so, later ones as pairs."""
    for merge in tokenizer["model"]["merges"]:
        yield merge if isinstance(merge, str) else " ".join(merge)


def _special_ids(model: Path, settings: dict[str, Any], added: dict[int, dict[str, Any]]) -> dict[str, int]:
    """Role → id, from tokenizer_config.json, and where it is silent from config.json."""
    numbers = {entry["content"]: number for number, entry in added.items()}
    config = _read(model / "config.json")
    found: dict[str, int] = {}
    for role in ROLES:
        token = settings.get(f"{role}_token")
        number = numbers.get(token["content"] if isinstance(token, dict) else token)
        number = config.get(f"{role}_token_id") if number is None else number
        if isinstance(number, int):
            found[role] = number
    return found


def _template(model: Path, settings: dict[str, Any]) -> str | None:
    """The chat template. The file counts for transformers, the setting for llama.cpp's converter: two are refused."""
    path = model / "chat_template.jinja"
    written = path.read_text(encoding="utf-8") if path.is_file() else None
    setting = settings.get("chat_template")
    if setting is not None and not isinstance(setting, str):
        raise UserError(f"{model}/tokenizer_config.json: holds several chat templates; keep the one to be used")
    if None not in (written, setting) and written != setting:
        raise UserError(f"{model}: chat_template.jinja and tokenizer_config.json hold different templates; keep one")
    return written if setting is None else setting
