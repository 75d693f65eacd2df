"""Macros that the author of a LaTeX source defines, put in for what they stand for, in text and in formulas."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MOST_EXPANSIONS = 200_000  # papers of 100 pages have some 5,000
GROWTH = 2_000_000  # characters that macros may put in
DEEPEST = 30
LONGEST_OPTION = 2000  # characters in square brackets, and of the parameters of a `\\def`; more are none
_CONTROL = re.compile(r"\\([a-zA-Z@]+)\*?")
_DEFINITION = re.compile(r"(new|renew|provide)command|DeclareRobustCommand|DeclareMathOperator|[gx]?def|edef|let")
_NAME = re.compile(r"\s*(?:\{\s*\\([a-zA-Z@]+|.)\s*\}|\\([a-zA-Z@]+|.))")
_ALIAS = re.compile(r"\s*\\([a-zA-Z@]+|.)\s*=?\s*(\\[a-zA-Z@]+|.)")
_PARAMETERS = re.compile(r"((?:#[1-9])*)(?=\{)")
# A macro with these in it is a program. Those of `_KEPT` the reader knows by name, whatever the author makes them do.
_PROGRAM = re.compile(r"\\(if|else\b|fi\b|csname|expandafter|futurelet|loop|repeat|catcode|write|read)|@")
_KEPT = frozenset(
    "begin end part chapter section subsection subsubsection paragraph title date author cite citep citet ref eqref"
    " label item caption footnote input include maketitle abstract emph textbf textit frac sum documentclass".split()
)


@dataclass(frozen=True)
class Macro:
    """What a name stands for, with `#1`, `#2`... for its arguments; the first may have a default."""

    body: str
    arguments: int = 0
    default: str | None = None


@dataclass
class Macros:
    """Goes over a source once: definitions are taken out and used from there on. Raises `ValueError` at the bounds."""

    known: dict[str, Macro] = field(default_factory=lambda: {"xspace": Macro("")})
    expansions: int = 0
    grown: int = 0

    def expand(self, text: str, depth: int = 0) -> str:
        """The text without definitions, with what its macros stand for."""
        out: list[str] = []
        position = 0
        while found := _CONTROL.search(text, position):
            out.append(text[position : found.start()])
            name, after = found[1], found.start() + 1 + len(found[1])
            if _DEFINITION.fullmatch(name):
                position = self._define(name, text, found.end())
            elif name in self.known and depth < DEEPEST:
                position, put_in = self._use(name, text, after, depth)
                out.append(_joined("".join(out[-2:])[-100:], put_in, text[position : position + 1]))
            else:
                position = after
                out.append(found[0][: 1 + len(name)])
        return "".join([*out, text[position:]])

    def _use(self, name: str, text: str, position: int, depth: int) -> tuple[int, str]:
        macro, arguments = self.known[name], []
        if macro.default is not None:
            given, position = _bracketed(text, position)
            arguments.append(macro.default if given is None else given)
        while len(arguments) < macro.arguments:
            argument, position = _argument(text, position)
            arguments.append(argument)
        body = re.sub(r"#([1-9])", lambda slot: "".join(arguments[int(slot[1]) - 1 : int(slot[1])]), macro.body)
        self.expansions += 1
        self.grown += len(body)
        if self.expansions > MOST_EXPANSIONS or self.grown > GROWTH:
            raise ValueError(f"macros of its author grow without end (\\{name})")
        return position, self.expand(body, depth + 1)

    def _define(self, kind: str, text: str, position: int) -> int:
        """Take in a definition; where it ends. A program, and another name for a macro, are only taken out."""
        if kind == "let":
            alias = _ALIAS.match(text, position)
            return alias.end() if alias else position
        found = _NAME.match(text, position)
        if not found:
            return position
        name, position = found[1] or found[2], found.end()
        macro, position = _delimited(text, position) if kind.endswith("def") else _declared(kind, text, position)
        usable = macro and name.isalpha() and name not in _KEPT and not _PROGRAM.search(macro.body)
        if macro and usable and name not in _CONTROL.findall(macro.body):
            self.known[name] = macro
        return position


def _declared(kind: str, text: str, position: int) -> tuple[Macro, int]:
    count, position = _bracketed(text, position)
    default, position = _bracketed(text, position) if count else (None, position)
    body, position = _argument(text, position)
    if kind == "DeclareMathOperator":
        return Macro(rf"\operatorname{{{body}}}"), position
    return Macro(body, int(count) if count and count.strip().isdigit() else 0, default), position


def _delimited(text: str, position: int) -> tuple[Macro | None, int]:
    """TeX's own `\\def`; one whose parameters are parted by other signs is passed over."""
    found = _PARAMETERS.match(text, position)
    brace = text.find("{", position, position + LONGEST_OPTION)
    if brace < 0:
        return None, position
    body, end = _argument(text, brace)
    return (Macro(body, len(found[1]) // 2) if found else None), end


def _bracketed(text: str, position: int) -> tuple[str | None, int]:
    """What stands in square brackets next, or None, and where to go on."""
    start = position
    while text[start : start + 1].isspace():
        start += 1
    end = text.find("]", start, start + LONGEST_OPTION) if text.startswith("[", start) else -1
    return (text[start + 1 : end], end + 1) if end >= 0 else (None, position)


def _argument(text: str, position: int) -> tuple[str, int]:
    """The next group without its braces, macro or sign, and where to go on."""
    while text[position : position + 1].isspace():
        position += 1
    if text[position : position + 1] != "{":
        found = re.compile(r"\\[a-zA-Z@]+|\\.|[^}]?", re.S).match(text, position)
        return (found[0], found.end()) if found else ("", position)
    depth = 0
    for brace in re.compile(r"\\.|[{}]", re.S).finditer(text, position):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[position + 1 : brace.start()], brace.end()
    return text[position + 1 :], len(text)


_TAKES_ONE = re.compile(
    r"(\^|_|\\(wide)?(hat|tilde|bar|vec|d?dot|overline|underline|sqrt|boldsymbol|(math|text)[a-z]+))\s*$"
)


def _joined(before: str, put_in: str, after: str) -> str:
    """In braces where it is an argument (`x^\\y`, `\\hat\\y`); apart from a letter that would join its last macro."""
    if _TAKES_ONE.search(before) and not re.search(r"\\(begin|end)\b", put_in):
        return f"{{{put_in}}}"
    return f"{put_in} " if after.isalpha() and re.search(r"\\[a-zA-Z]+$", put_in) else put_in
