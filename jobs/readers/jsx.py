"""MDX → Markdown: imports, exports, JSX components and Svelte blocks are taken out, what stands between tags stays."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^\s*(```+|~~~+)")
_STATEMENT = re.compile(r"^(import\s.+|export\s+(const|default|let|function)\b.*)$")
_TEMPLATE = re.compile(r"^\s*\{[#:/@].*\}\s*$")
_COMMENT = re.compile(r"\{/\*(?:(?!\{/\*).)*?\*/\}", re.S)  # none in another: a search ends at the next
_TAG = re.compile(r"</?[A-Z][\w.]*")
LONGEST_TAG = 20_000  # characters; a `<` without its `>` within so many is no tag


def strip_components(text: str) -> str:
    """Markdown without its MDX parts; fenced code is passed over untouched."""
    parts = [part if fenced else _strip_prose(part) for fenced, part in _by_fence(text)]
    return "".join(parts)


def _by_fence(text: str) -> list[tuple[bool, str]]:
    parts: list[tuple[bool, list[str]]] = []
    mark = ""
    for line in text.splitlines(keepends=True):
        fence = _FENCE.match(line)
        inside = bool(mark) or bool(fence)
        if fence and not mark:
            mark = fence[1]
        elif fence and fence[1].startswith(mark):
            mark = ""
        if parts and parts[-1][0] == inside:
            parts[-1][1].append(line)
        else:
            parts.append((inside, [line]))
    return [(inside, "".join(lines)) for inside, lines in parts]


def _strip_prose(text: str) -> str:
    text = _COMMENT.sub("", text)
    lines = (line for line in text.splitlines(keepends=True) if not (_STATEMENT.match(line) or _TEMPLATE.match(line)))
    text, kept, position = "".join(lines), [], 0
    while tag := _TAG.search(text, position):
        end = _tag_end(text, tag.end())
        kept.append(text[position : tag.end() if end is None else tag.start()])
        position = tag.end() if end is None else end
    return "".join([*kept, text[position:]])


def _tag_end(text: str, start: int) -> int | None:
    """Index after the `>` that closes a tag: not one in braces or quotes. None where there is none."""
    depth, quote = 0, ""
    last = text.rfind(">", start, start + LONGEST_TAG)
    for index in range(start, last + 1):
        letter = text[index]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'`" and (depth or text[index - 1] == "="):
            quote = letter
        elif letter in "{}":
            depth += 1 if letter == "{" else -1
        elif letter == ">" and depth <= 0:
            return index + 1
    return None
