"""Is the file's tokenizer the merged model's: vocabulary, chat template, token ids, and what ends an answer."""

from __future__ import annotations

import ctypes
import json
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from jobs.errors import first_line
from jobs.gguf_export.probes import CHATS, TURNS, golden_texts
from jobs.gguf_export.properties import refused
from jobs.gguf_export.reader import GgufFile
from qa.llama import Model
from qa.prompts import END_OF_TEXT, IM_END, Message, PromptEncoder

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4  # gguf.TokenType
TEMPLATE_KEY = "tokenizer.chat_template"
EOS_KEY = "tokenizer.ggml.eos_token_id"
OTHER_END_KEYS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
BYTE_PAIRS = "gpt2"  # llama.cpp's name of byte-level BPE
FORM = "NFC"  # to which Qwen's tokenizer brings text


def check_vocabulary(file: GgufFile, tokenizer: Any) -> int:
    """Compare tokens, their types and merges, as the file has them; returns the number of entries.

    llama.cpp mends some of it while loading (it makes a plain <|im_end|> a control token), and other readers do not.
    """
    metadata, names = file.metadata, {number: token for token, number in tokenizer.get_vocab().items()}
    if (kind := metadata.get("tokenizer.ggml.model")) != BYTE_PAIRS:
        raise refused(
            file.path, "vocabulary", f"its tokenizer is {kind!r}, the model's is byte-level BPE ({BYTE_PAIRS})"
        )
    tokens, types = metadata.get("tokenizer.ggml.tokens", []), metadata.get("tokenizer.ggml.token_type", [])
    if len(tokens) != len(types) or len(tokens) <= max(names):
        count = f"{len(tokens)} tokens with {len(types)} types, the model's tokenizer {max(names) + 1}"
        raise refused(file.path, "vocabulary", f"it has {count}")
    added = tokenizer.added_tokens_decoder
    for number, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        if token != names.get(number, token):
            raise refused(file.path, "vocabulary", f"token {number} is {token!r}, in the model {names[number]!r}")
        if kind not in (allowed := _types(number, names, added)):
            what = f"token {number} ({token!r}) has type {kind}, not {' or '.join(map(str, allowed))}"
            raise refused(file.path, "vocabulary", what)
    _check_merges(file, tokenizer)
    return len(tokens)


def _types(number: int, names: dict[int, str], added: dict[int, Any]) -> tuple[int, ...]:
    """Which types a token may have; what only pads the embedding must be neither text nor matched in text."""
    if number not in names:
        return (2, 5)  # unknown, unused
    if number not in added:
        return (NORMAL,)
    return (CONTROL,) if added[number].special else (CONTROL, USER_DEFINED)


def _check_merges(file: GgufFile, tokenizer: Any) -> None:
    ours = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    expected = (merge if isinstance(merge, str) else " ".join(merge) for merge in ours)
    for number, (merge, wanted) in enumerate(zip_longest(file.metadata.get("tokenizer.ggml.merges", ()), expected)):
        if merge != wanted:
            raise refused(file.path, "vocabulary", f"merge {number} is {merge!r}, in the model's tokenizer {wanted!r}")


def check_template(file: GgufFile, tokenizer: Any) -> int:
    """Compare the chat template, and the prompts that it makes in the hands of all who read it; returns how many.

    Transformers renders it with Jinja, llama-cpp-python with its own settings of Jinja, and llama.cpp's library knows
    it by its marks, so that it leaves out what the template puts before a chat without a system message; the ids of
    all others are those that `qa.prompts` builds.
    """
    template = file.metadata.get(TEMPLATE_KEY)
    if template is None:
        raise refused(file.path, "template", "it has no chat template, so programs would guess one")
    if template != tokenizer.chat_template:
        raise refused(file.path, "template", _first_difference(template, tokenizer.chat_template))
    for turns in CHATS:
        prompt = rendered(tokenizer, turns)
        _check_rendered(file, "llama-cpp-python", _by_python(template, turns), prompt)
        if turns in TURNS:
            _check_rendered(file, "llama.cpp", _by_llama(template, turns), prompt)
            _check_trained(file, tokenizer, turns, prompt)
    return len(CHATS)


def rendered(tokenizer: Any, turns: Sequence[Message]) -> str:
    """The prompt that transformers makes of a chat."""
    return tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=True)


def _check_rendered(file: GgufFile, reader: str, found: str, prompt: str) -> None:
    if found != prompt:
        what = f"{reader} renders it otherwise: {_first_difference(found, prompt)}"
        raise refused(file.path, "template", what)


def _check_trained(file: GgufFile, tokenizer: Any, turns: Sequence[Message], prompt: str) -> None:
    if tokenizer(prompt)["input_ids"] != PromptEncoder.from_transformers(tokenizer).prompt(turns):
        what = "its prompt has other ids than training saw"
        raise refused(file.path, "template", what, "train with this template")


def _by_python(template: str, turns: Sequence[Message]) -> str:
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    return Jinja2ChatFormatter(template, eos_token=IM_END, bos_token="")(messages=list(turns)).prompt


def _by_llama(template: str, turns: Sequence[Message]) -> str:
    import llama_cpp

    said = [(turn["role"].encode(), turn["content"].encode()) for turn in turns]
    chat = (llama_cpp.llama_chat_message * len(said))(*(llama_cpp.llama_chat_message(*turn) for turn in said))
    room = ctypes.create_string_buffer(4096)
    length = llama_cpp.llama_chat_apply_template(template.encode(), chat, len(said), True, room, len(room))
    return room.raw[: max(length, 0)].decode("utf-8", errors="replace")


def check_tokens(file: GgufFile, model: Model, tokenizer: Any) -> int:
    """Compare the ids of every golden prompt; returns how many.

    Each is read as what a person typed (`PromptEncoder`, which normalises), alone and in a chat. Then as llama-server
    and Ollama read it, if it is normalised already: they give other forms other ids. So they do to what spells a token
    that llama.cpp takes for an end by its name alone, in Qwen2.5's vocabulary the plain word </s>.
    """
    ours = PromptEncoder.from_transformers(tokenizer)
    added, texts = tokenizer.added_tokens_decoder, golden_texts(tokenizer.get_added_vocab())
    spelt = [tokenizer.convert_ids_to_tokens(number) for number in _ends(model) if number not in added]
    for text in texts:
        messages: list[Message] = [{"role": "system", "content": "S"}, {"role": "user", "content": text}]
        pairs = [(encoder.tokenize(text), encoder.prompt(messages)) for encoder in (ours, model.encoder)]
        if unicodedata.is_normalized(FORM, text) and not any(word in text for word in spelt):
            raw = (text, rendered(tokenizer, messages))
            pairs += [tuple(map(model.parse, raw)), tuple(tokenizer(one)["input_ids"] for one in raw)]
        if pairs[0] != pairs[1] or pairs[2:3] != pairs[3:]:
            what = f"llama.cpp reads {text[:60]!r} as other ids than the model's tokenizer"
            raise refused(file.path, "tokens", what)
    _check_prompts(file, model, tokenizer)
    return len(texts)


def _ends(model: Model) -> tuple[int, ...]:
    """The ids at which llama.cpp ends an answer."""
    return tuple(number for number in range(model.size) if model.ends_generation(number))


def _check_prompts(file: GgufFile, model: Model, tokenizer: Any) -> None:
    """Rendered chats as programs read them, and a plain sentence with whatever llama.cpp puts before it."""
    for turns in CHATS:
        prompt = rendered(tokenizer, turns)
        if model.parse(prompt) != tokenizer(prompt)["input_ids"]:
            what = "llama.cpp reads a rendered prompt as other ids than the model's tokenizer"
            raise refused(file.path, "tokens", what)
    sentence = "A sentence."
    if model.parse(sentence, begin=True) != tokenizer(sentence)["input_ids"]:
        what = "llama.cpp puts a token before a prompt where the model's tokenizer puts none"
        raise refused(file.path, "tokens", what)


def check_stop(file: GgufFile, model: Model, tokenizer: Any, ends: Iterable[int]) -> tuple[int, ...]:
    """Compare what ends an answer: `ends` are the ids that the merged model's generation stops at. Returns all ids.

    llama.cpp adds some by their spelling alone, in Qwen2.5's vocabulary <|fim_pad|> and the plain word </s>; what the
    file itself names must be the model's.
    """
    if (eos := file.metadata.get(EOS_KEY)) != tokenizer.eos_token_id:
        raise refused(file.path, "stop", f"its eos token is {eos}, the model's {tokenizer.eos_token_id}")
    wanted = {*ends, *tokenizer.convert_tokens_to_ids([IM_END, END_OF_TEXT])}
    for key in OTHER_END_KEYS:
        if (number := file.metadata.get(key)) not in (None, *wanted):
            name = tokenizer.convert_ids_to_tokens(number)
            raise refused(file.path, "stop", f"its {key} is {number} ({name}), at which the model's answers go on")
    found = _ends(model)
    if missing := sorted(wanted - set(found)):
        names = ", ".join(f"{number} ({tokenizer.convert_ids_to_tokens(number)})" for number in missing)
        raise refused(file.path, "stop", f"llama.cpp does not end an answer at {names}")
    return found


def _first_difference(one: str, other: str) -> str:
    place = next(
        (i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )
    return f"at character {place} it has {one[place : place + 20]!r}, the model's {other[place : place + 20]!r}"


def load_tokenizer(merged: Any) -> Any:
    """The merged model's tokenizer. Raises `UserError` where it is none, or not a ChatML one."""
    from transformers import AutoTokenizer

    from jobs.errors import UserError

    try:
        tokenizer = AutoTokenizer.from_pretrained(merged)
        PromptEncoder.from_transformers(tokenizer)
    except (OSError, ValueError) as error:
        raise UserError(f"{merged}: its tokenizer cannot be used ({first_line(error)})") from None
    return tokenizer
