"""Files that a LaTeX source includes: put in where they are named, from one folder tree or archive and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePosixPath

MOST_FILES, DEEPEST, MOST_MISSING = 500, 20, 100
_SUFFIXES = (".tex", ".ltx")  # files of other names are no part of a document
LARGEST_SOURCE = 20_000_000  # characters with everything included; the largest book sources have 5 million
_INCLUDE = re.compile(
    r"\\(?:(?:input|include|subfile|subfileinclude)\s*\{(?P<name>[^{}]+)\}|input\s+(?P<bare>[\w./-]+)"
    r"|(?:sub)?(?:import|inputfrom|includefrom)\*?\s*\{(?P<folder>[^{}]*)\}\s*\{(?P<inner>[^{}]+)\})"
)
_NOT_READ = re.compile(
    r"\\begin\{(verbatim\*?|Verbatim|lstlisting|minted|comment|filecontents\*?)\}.*?(?:\\end\{\1\}|\Z)"
    r"|(?P<escaped>\\[\\%])|%[^\n]*(?:\n[ \t]*(?=\S))?",
    re.S,
)
Load = Callable[[str], str | None]  # a name below the source's own folder → the file's text, None where there is none


def without_comments(source: str) -> str:
    """A source without comments and listings, in which nothing is included or defined."""
    return _NOT_READ.sub(lambda found: found["escaped"] or "", source)


class Includes:
    """Puts included files in, and keeps the names of those that are not there, or not in the folder tree."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self._missing: dict[str, None] = {}
        self.files, self.characters = 0, 0

    @property
    def missing(self) -> list[str]:
        """The first `MOST_MISSING` names of files that are not there, and how many more there are."""
        names = list(self._missing)
        more = len(names) - MOST_MISSING
        return names if more <= 0 else [*names[:MOST_MISSING], f"and {more:,} more"]

    def expand(self, source: str, folder: str = "", above: tuple[str, ...] = ()) -> str:
        """A source with everything that it includes. Names go by its own folder, then by that of the main file."""
        return _INCLUDE.sub(lambda found: self._put_in(found, folder, above), without_comments(source))

    def _put_in(self, found: re.Match[str], folder: str, above: tuple[str, ...]) -> str:
        name = (found["name"] or found["bare"] or f"{found['folder']}/{found['inner']}").strip().strip('"')
        places = [place for base in dict.fromkeys((folder, "")) if (place := _place(base, name))]
        for place in (candidate for base in places for candidate in (f"{base}.tex", base)):
            if place in above:  # it is being read already: nothing is missing
                return " "
            if len(above) >= DEEPEST or self.files >= MOST_FILES:
                break
            if (text := self.load(place)) is not None:
                return self._of_file(place, text, above)
        self._missing[name] = None
        return " "

    def _of_file(self, place: str, text: str, above: tuple[str, ...]) -> str:
        self.files += 1
        self.characters += len(text)
        if self.characters > LARGEST_SOURCE:
            raise ValueError(f"files included come to more than {LARGEST_SOURCE:,} characters")
        body = re.search(
            r"\\begin\{document\}(.*?)(?:\\end\{document\}|\Z)", text, re.S
        )  # a subfile is whole by itself
        inner = self.expand(body[1] if body else text, str(PurePosixPath(place).parent), (*above, place))
        return f"\n{inner}\n"


def _place(folder: str, name: str) -> str:
    """A name below the source's folder; "" where it is absolute, leads out or is hidden."""
    parts: list[str] = []
    if name.startswith(("/", "~", "\\", "|")) or ":" in name:
        return ""
    for part in (*PurePosixPath(folder).parts, *PurePosixPath(name).parts):
        if (part == ".." and not parts) or (part != ".." and part.startswith(".")):
            return ""
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def from_folder(root: Path) -> Load:
    """LaTeX files of a folder tree; hidden ones, and links that lead out of it, are as good as missing."""

    def load(name: str) -> str | None:
        try:
            path, top = (root / name).resolve(), root.resolve()
            inside = path.is_relative_to(top) and not any(part[0] == "." for part in path.relative_to(top).parts)
            if not inside or path.suffix.lower() not in _SUFFIXES or not path.is_file():
                return None
            return text_of(path.read_bytes()) if path.stat().st_size <= LARGEST_SOURCE else None
        except (OSError, RuntimeError):  # a name too long, no right to read it, links in a circle
            return None

    return load


def text_of(data: bytes) -> str:
    """UTF-8, or Latin-1 as sources before 2010 often have it."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def includer(path: Path, root: Path) -> str:
    """The name of a file in this folder or the two above it, up to `root`, that includes this one; "" without."""
    path, root = path.absolute(), root.absolute()
    for folder in path.parents[:3]:
        if name := _included_below(folder).get(path.resolve()):
            return name
        if folder == root or not folder.is_relative_to(root):
            break
    return ""


@lru_cache(maxsize=256)
def _included_below(folder: Path) -> dict[Path, str]:
    """Files that the LaTeX files of one folder name, each with the name of the first that does."""
    found: dict[Path, str] = {}
    try:
        named = [file for file in sorted(folder.glob("*.tex"))[:MOST_FILES] if file.is_file()]
        files = [file for file in named if file.stat().st_size <= LARGEST_SOURCE]
        texts = [(file.name, without_comments(file.read_text("utf-8", errors="replace"))) for file in files]
    except OSError:  # what cannot be listed or read includes nothing
        return {}
    for name, text in texts:
        for include in _INCLUDE.finditer(text):
            inner = (include["name"] or include["bare"] or f"{include['folder']}/{include['inner']}").strip()
            if place := _place("", inner):
                found.setdefault((folder / place).resolve(), name)
                found.setdefault((folder / f"{place}.tex").resolve(), name)
    return found
