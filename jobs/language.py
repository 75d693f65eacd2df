"""The language that a text is written in (py3langid)."""

from __future__ import annotations

import re
from functools import cache

# Formulas, code and addresses look like other languages: without this, short passages of formulas come out as Latin.
_NO_PROSE = re.compile(
    r"\$\$.*?\$\$|\$[^$\n]*\$|\\begin\{.*?\\end\{[^}]*\}|\\[a-zA-Z]+|```.*?```|`[^`\n]*`|https?://\S+|\S+@\S+", re.S
)


def language_of(text: str) -> str:
    """ISO 639-1 code of the prose in a text; "" where there is none."""
    from py3langid import classify

    prose = " ".join(_NO_PROSE.sub(" ", text).split())
    return str(classify(prose)[0]) if re.search(r"[^\W\d_]", prose) else ""


@cache
def known_languages() -> frozenset[str]:
    """Codes of the languages that can be told."""
    from py3langid import rank

    return frozenset(str(code) for code, _ in rank("a"))
