"""A Qwen tokenizer as GGUF holds it: tokens and their kinds, merges, special tokens, chat template.

Read from the model's JSON files alone, as llama.cpp's `SpecialVocab` does. What the format cannot say, and llama.cpp
would therefore tokenise otherwise than transformers, is refused by name.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError
from jobs.json_object import expect, read_object
from jobs.model_folder import ModelFolder

if TYPE_CHECKING:
    import gguf

PRE_TOKENIZER = "qwen2"  # llama.cpp's name of the rule below
SPLIT = (  # of Qwen2, Qwen2.5 and Qwen3; Qwen3.5 has another
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
LISTS = ("additional_special_tokens", "extra_special_tokens")  # transformers 4's and 5's
NORMALIZER = {"type": "NFC"}  # llama.cpp leaves text as it is typed: docs/export.md
STEPS = [  # but for trim_offsets, which changes no token
    {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False},
    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
]
FOREIGN = ("byte_fallback", "ignore_merges", "dropout", "continuing_subword_prefix", "end_of_word_suffix")
EDGES = ("single_word", "lstrip", "rstrip")  # of an added token: what it takes of the text around it
ADVICE = "take it from the model's own repository"


def add_vocabulary(writer: gguf.GGUFWriter, model: ModelFolder) -> None:
    """Write the `tokenizer.*` keys of a model that `check_tokenizer` has passed. Rows beyond its ids are padding."""
    folder, rows = model.path, model.architecture.vocabulary
    tokenizer, settings = (read_object(folder / name, ADVICE) for name in ("tokenizer.json", "tokenizer_config.json"))
    _check_rule(tokenizer, settings, folder)
    names, special = _names(tokenizer, settings, folder)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in range(rows)])
    writer.add_token_types([_kind(number, names, special) for number in range(rows)])
    writer.add_token_merges(_merges(tokenizer, f"{folder}/tokenizer.json"))
    for role, number in _special_ids(model, settings, {names[number]: number for number in special}).items():
        getattr(writer, f"add_{role}_token_id")(number)
    # llama.cpp's converter leaves both out where the model does not say; told, no reader has to guess.
    writer.add_add_bos_token(bool(settings.get("add_bos_token", False)))
    writer.add_add_eos_token(bool(settings.get("add_eos_token", False)))
    if (template := _template(folder, settings)) is not None:
        writer.add_chat_template(template)


def _check_rule(tokenizer: dict[str, Any], settings: dict[str, Any], folder: Path) -> None:
    """Raise `UserError` unless text is split and joined as llama.cpp's rule of this name does."""
    place = f"{folder}/tokenizer.json"
    model = expect(tokenizer.get("model"), dict, f"{place}: model")
    if model.get("type") != "BPE" or any(model.get(key) for key in FOREIGN):
        raise UserError(f"{place}: not a byte-level BPE as Qwen2 has it, so llama.cpp would tokenise otherwise")
    if (found := tokenizer.get("normalizer")) != NORMALIZER:
        raise UserError(f"{place}: normalizer is {reprlib.repr(found)}, Qwen2's is {NORMALIZER}, which is expected")
    splitting = expect(tokenizer.get("pre_tokenizer"), dict, f"{place}: pre_tokenizer")
    steps = expect(splitting.get("pretokenizers", [splitting]), list, f"{place}: pretokenizers")
    steps = [expect(step, dict, f"{place}: a step of pretokenizers") for step in steps]
    if [{key: value for key, value in step.items() if key != "trim_offsets"} for step in steps] != STEPS:
        raise UserError(f"{place}: splits text by another rule than Qwen2's, which llama.cpp would not follow")
    if settings.get("add_prefix_space"):
        raise UserError(f"{folder}/tokenizer_config.json: add_prefix_space is on, which llama.cpp would not follow")
    if '"SpecialToken"' in json.dumps(tokenizer.get("post_processor")):
        raise UserError(f"{place}: puts special tokens around every text (post_processor); Qwen's own does not")


def _names(tokenizer: dict[str, Any], settings: dict[str, Any], folder: Path) -> tuple[dict[int, str], dict[int, bool]]:
    """Token by id, and whether it is special of each added to the vocabulary, by tokenizer.json and transformers."""
    place, config = f"{folder}/tokenizer.json", f"{folder}/tokenizer_config.json"
    vocabulary = expect(tokenizer["model"].get("vocab"), dict, f"{place}: model.vocab")
    names = {number: token for token, number in vocabulary.items()}
    if len(names) < len(vocabulary) or min(names, default=0) < 0:
        raise UserError(f"{place}: two tokens have one id, or one is below 0; {ADVICE}")
    special: dict[int, bool] = {}
    for entry in expect(tokenizer.get("added_tokens") or [], list, f"{place}: added_tokens"):
        number, content = entry["id"], _content(entry, f"{place}: added token")
        names[number], special[number] = content, bool(entry.get("special"))
    for key, entry in expect(
        settings.get("added_tokens_decoder") or {}, dict, f"{config}: added_tokens_decoder"
    ).items():
        number = int(key) if key.isdecimal() and len(key) < 10 else -1
        content = _content(expect(entry, dict, what := f"{config}: token {key}"), what)
        if names.get(number) != content:
            raise UserError(f"{folder}: tokenizer_config.json and tokenizer.json differ in token {key}")
        special[number] = special.get(number, False) or bool(entry.get("special"))
    marked = set(_marked(settings, config))
    if unknown := sorted(marked - set(names.values())):
        raise UserError(f"{folder}: tokenizer_config.json names {unknown[0]!r}, which tokenizer.json has not")
    return names, {number: found or names[number] in marked for number, found in special.items()}


def _content(token: Any, what: str) -> str:
    """The text of a token, which is written as it is or with its marks."""
    if isinstance(token, str):
        return token
    text = expect(expect(token, dict, what).get("content"), str, f"{what}: content")
    if edge := next((key for key in EDGES if token.get(key)), None):
        raise UserError(f"{what}: {text!r} has {edge}, which llama.cpp would not follow")
    return text


def _marked(settings: dict[str, Any], place: str) -> Iterator[str]:
    """The tokens that tokenizer_config.json makes special."""
    for key, value in settings.items():
        if key in LISTS:
            tokens = list(value.values()) if isinstance(value, dict) else expect(value or [], list, f"{place}: {key}")
        elif key.removesuffix("_token") in ROLES:
            tokens = [value] if value else []
        else:
            continue
        yield from (_content(token, f"{place}: {key}") for token in tokens)


def _kind(number: int, names: dict[int, str], special: dict[int, bool]) -> int:
    import gguf

    if number not in names:
        return gguf.TokenType.UNUSED
    if number not in special:
        return gguf.TokenType.NORMAL
    # Added but not marked special, yet written like a control token: llama.cpp's converter makes it one too.
    control = special[number] or (names[number].startswith("<|") and names[number].endswith("|>"))
    return gguf.TokenType.CONTROL if control else gguf.TokenType.USER_DEFINED


def _merges(tokenizer: dict[str, Any], place: str) -> list[str]:
    """Each merge as two tokens with a space between; tokenizers before 0.20 wrote them so, later ones as pairs."""
    merges = []
    for merge in expect(tokenizer["model"].get("merges"), list, f"{place}: model.merges"):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if (
            not isinstance(parts, list)
            or len(parts) != 2
            or not all(isinstance(p, str) and " " not in p for p in parts)
        ):
            raise UserError(f"{place}: the merge {reprlib.repr(merge)} is not a pair of tokens; {ADVICE}")
        merges.append(" ".join(parts))
    return merges


def _special_ids(model: ModelFolder, settings: dict[str, Any], ids: dict[str, int]) -> dict[str, int]:
    """Role → id, from tokenizer_config.json, and where it is silent from config.json; a list of ids is passed over."""
    found: dict[str, int] = {}
    for role in ROLES:
        token, stated = settings.get(f"{role}_token"), model.config.get(f"{role}_token_id")
        number = ids.get(_content(token, f"{role}_token")) if token else None
        if number is None and stated is not None and not isinstance(stated, list):
            number = expect(stated, int, what := f"{model.path}/config.json: {role}_token_id")
            if not 0 <= number < model.architecture.vocabulary:
                raise UserError(f"{what} is {number}, the vocabulary has {model.architecture.vocabulary} entries")
        if number is not None:
            found[role] = number
    return found


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    """The chat template. The file counts for transformers, the setting for llama.cpp's converter: two are refused."""
    path = folder / "chat_template.jinja"
    try:
        written = path.read_text(encoding="utf-8") if path.is_file() else None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {ADVICE}") from None
    setting = settings.get("chat_template")
    if setting is not None and not isinstance(setting, str):
        raise UserError(f"{folder}/tokenizer_config.json: holds several chat templates; keep the one to be used")
    if None not in (written, setting) and written != setting:
        raise UserError(f"{folder}: chat_template.jinja and tokenizer_config.json hold different templates; keep one")
    return written if setting is None else setting
