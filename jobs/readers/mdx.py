"""MDX: Markdown with components in it."""

from __future__ import annotations

from jobs.documents import Extract
from jobs.readers.jsx import strip_components
from jobs.readers.markdown import read_markdown
from jobs.readers.plain import decode


def read(data: bytes) -> Extract:
    """Components are taken out, then it is read as Markdown."""
    return read_markdown(strip_components(decode(data)))
