"""What a visitor, a document or a model wrote, made harmless for the page; and numbers as people read them."""

from __future__ import annotations

import html
import re

LATEX = [  # no single dollars: a price is likelier in an answer than a formula in them
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]
JOINER = "\u2060"  # has no width, in code and outside it
_LINE_END = re.compile(r"\r\n?|\n")
_OPENING = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([A-Za-z0-9+#.-]*)[^`\n]*")
_INLINE_CODE = re.compile(r"((?<!`)(`{1,2})(?!`)[^\n]*?[^`\n]\2(?!`))")
_HAZARD = re.compile(r"<(?=[A-Za-z/!?])|\](?=[(\[:])")
_FENCE_SIGNS = re.compile(r"`{3,}|~{3,}")


def escape(text: object) -> str:
    """Text for HTML, in element and attribute alike."""
    return html.escape(str(text), quote=True)


def seconds(value: float) -> str:
    """A time as people read it: `under 0.1 s`, `2.4 s`, `128 s`."""
    if value < 0.1:
        return "under 0.1 s"
    return f"{value:.1f} s" if value < 9.95 else f"{value:,.0f} s"


def per_second(value: float) -> str:
    """A rate as people read it: `7.3 per second`, `3,944 per second`."""
    return f"{value:.1f} per second" if value < 99.95 else f"{value:,.0f} per second"


def megabytes(count: int) -> str:
    """Bytes as people read them: `640 kB`, `12.5 MB`, `1.93 GB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.{2 if unit == 'GB' else 1}f} {unit}"
    return f"{count / 1e3:.0f} kB"


def safe_markdown(text: str) -> str:
    """Markdown that can format, and nothing else: no raw HTML, no image, no diagram, no link that hides its address.

    An image would be fetched from a stranger's server while the answer is being read. Renderers disagree on what is
    code, so none is asked: fenced code is written anew in the one form that all of them read alike, fences of any
    other form lose their meaning, and everything else is made harmless whether it will be taken for code or not.
    """
    parts: list[str] = []
    held: list[str] = []
    fence: re.Match[str] | None = None
    for line in _LINE_END.split(text.replace("\0", "")):
        if fence is None and (opening := _OPENING.fullmatch(line)):
            parts += [_prose(held)] if held else []
            fence, held = opening, []
        elif fence is not None and _closes(line, fence[2]):
            parts.append(_fenced(held, fence))
            fence, held = None, []
        else:
            held.append(line)
    if held or fence is not None:
        parts.append(_prose(held) if fence is None else _fenced(held, fence))
    return "\n".join(map(_close_latex, parts))


def _closes(line: str, opening: str) -> bool:
    marks = line.strip(" \t")
    return len(marks) >= len(opening) and set(marks) == {opening[0]}


def _fenced(lines: list[str], fence: re.Match[str]) -> str:
    """Code between fences at the line's start, longer than any run of such signs inside; never a Mermaid diagram."""
    code = [re.sub(rf"^[ \t]{{0,{len(fence[1])}}}", "", line) for line in lines]
    marks = "`" * max([3, *(len(run) + 1 for line in code for run in re.findall("`+", line))])
    language = "" if fence[3].lower() == "mermaid" else fence[3]
    return "\n".join([marks + language, *code, marks])


def _prose(lines: list[str]) -> str:
    """Text and code within its lines: the first with entities, the second, where they would show, with joiners."""
    pieces = _INLINE_CODE.split("\n".join(lines))  # text, code, its sign, text, ...
    texts, codes = pieces[::3], [*pieces[1::3], ""]
    return "".join(_defuse(text) + _HAZARD.sub(_joined, code) for text, code in zip(texts, codes, strict=True))


def _defuse(text: str) -> str:
    """Signs become entities, not backslash escapes: those would read as the delimiters of LaTeX."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    text = text.replace("![", "!&#91;").replace("](", "]&#40;").replace("]:", "]&#58;").replace("][", "]&#91;")
    return _FENCE_SIGNS.sub(lambda run: f"&#{ord(run[0][0])};" * len(run[0]), text)


def _joined(found: re.Match[str]) -> str:
    return "".join(sign + JOINER for sign in found[0])


def _close_latex(part: str) -> str:
    """Break what opens LaTeX and does not close it in the same part: the page would take a fence for the formula's."""
    formulas: list[str] = []

    def keep(found: re.Match[str]) -> str:
        formulas.append(found[0])
        return f"\0{len(formulas) - 1}\0"

    for pair in LATEX:
        left, right = re.escape(pair["left"]), re.escape(pair["right"])
        part = re.sub(rf"{left}[\s\S]+?{right}", keep, part)
        part = re.sub(rf"{left}\$*", _joined, part)
    for number in reversed(range(len(formulas))):
        part = part.replace(f"\0{number}\0", formulas[number])
    return part
