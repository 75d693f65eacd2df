"""What a visitor, a document or a model wrote, made harmless for the page."""

from __future__ import annotations

import html
import re

_CODE = re.compile(r"^```[^`\n]*\n.*?(?:^```[ \t]*$|\Z)|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def escape(text: object) -> str:
    """Text for HTML, in element and attribute alike."""
    return html.escape(str(text), quote=True)


def safe_markdown(text: str) -> str:
    """Markdown that can format, and nothing else: no raw HTML, no image, no link that hides its address.

    An image would be fetched from a stranger's server while the answer is being read. Inside code, which renders
    as it is written, nothing is changed.
    """
    parts, start = [], 0
    for code in _CODE.finditer(text):
        parts += [_defuse(text[start : code.start()]), code.group()]
        start = code.end()
    return "".join([*parts, _defuse(text[start:])])


def _defuse(text: str) -> str:
    """Signs become entities, not backslash escapes: those would read as the delimiters of LaTeX."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return text.replace("![", "!&#91;").replace("](", "]&#40;").replace("]:", "]&#58;").replace("][", "]&#91;")
