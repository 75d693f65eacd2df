"""The passage index: BM25 over passages, built once by a job, pulled, verified and searched by the page.

    build(passages, folder)                      # `folder/manifest.json` is written last and names every file's SHA-256
    Index.load(folder).search("Who wrote LoRA?") # the best passages first, each with its score

BM25 and its files are bm25s's (arrays as .npy, words as JSON); nothing is ever pickled. What is searched for is data:
any text at all is a question, and one that shares no word with the index finds nothing.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import Stemmer
from pydantic import Field

from qa.records import Passage, Record, parse_record

if TYPE_CHECKING:
    from bm25s import BM25

MANIFEST, PASSAGES, OFFSETS, SCORES = "manifest.json", "passages.jsonl", "passages.offsets.npy", "bm25"
ARRAYS, TABLES = ("data.csc", "indices.csc", "indptr.csc"), ("params", "vocab")
FILES = (
    PASSAGES,
    OFFSETS,
    *(f"{SCORES}/{name}.index.npy" for name in ARRAYS),
    *(f"{SCORES}/{name}.index.json" for name in TABLES),
)
QUESTION_CHARACTERS = 4_000  # read of a question: an abstract fits, and a pasted book does not cost a search of seconds
WORD = r"\w+"  # one sign is a word too: it tells GPT-3 from GPT-2
# Lucene's list, then what makes a sentence a question. On the 1,100 questions about the 80 sample articles the latter
# take the right document's hits at 1 from 0.906 to 0.941, the right passage's from 0.564 to 0.611.
STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with "
    "what which who whom whose when where why how do does did has have had can could would should were been about from "
    "its you we"
).split()
TOKENIZER: dict[str, Any] = {
    "normalisation": "NFKC, lower case",
    "word": WORD,
    "stop_words": STOP_WORDS,
    "stemmer": "Snowball english",
    "text": "title, text",
}
BM25_SETTINGS: dict[str, Any] = {"k1": 1.5, "b": 0.75, "method": "lucene", "backend": "numpy", "csc_backend": "numpy"}
DECIDING = ("bm25s", "PyStemmer")  # another version may lay out other files, or stem questions otherwise than passages
AGAIN = "build the index again with python -m jobs.build_index, or pull it again"

_word, _stop_words = re.compile(WORD), frozenset(STOP_WORDS)


class RetrievalError(Exception):
    """One line: which file or passage cannot be used, why, and what to do about it."""


@dataclass(frozen=True)
class Hit:
    """A passage that was found, and its BM25 score: above 0, comparable only within one search."""

    passage: Passage
    score: float


class File(Record):
    """What the manifest says of one file."""

    bytes: int
    sha256: str


class Manifest(Record):
    """What an index is: how it was made, what it holds, and its files by their names in the folder."""

    format: Literal[1] = Field(alias="schema")
    tokenizer: dict[str, Any]
    versions: dict[str, str]
    passages: int = Field(ge=1)
    documents: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    files: dict[str, File]


def versions() -> dict[str, str]:
    """Versions of the libraries that an index must be built and searched with alike."""
    return {package: metadata.version(package) for package in DECIDING}


def build(passages: Iterable[Passage], folder: Path, *, show_progress: bool = False) -> dict[str, Any]:
    """Index passages into `folder` and return figures: counts, `bytes` on disk, `seconds`.

    The same passages give the same bytes. Raises `RetrievalError` where nothing can be indexed or an id repeats.
    """
    import bm25s  # 0.3 s, most of it SciPy's

    begun = time.monotonic()
    (folder / SCORES).mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    with (folder / PASSAGES).open("wb") as file:
        store = _Store(file)
        for passage in passages:
            store.add(passage)
    if not store.vocabulary:
        raise RetrievalError(f"{len(store.rows)} passages and no word in them; collect documents with prose")
    np.save(folder / OFFSETS, np.array(store.offsets, dtype=np.int64), allow_pickle=False)
    index = bm25s.BM25(**BM25_SETTINGS)
    index.index((store.rows, store.vocabulary), create_empty_token=False, show_progress=show_progress)
    index.save(folder / SCORES, allow_pickle=False, show_progress=False)
    counts = {"passages": len(store.rows), "documents": len(store.documents), "vocabulary": len(store.vocabulary)}
    manifest = _write_manifest(folder, counts)
    size = sum(file.bytes for file in manifest.files.values())
    return {**counts, "bytes": size, "seconds": round(time.monotonic() - begun, 3)}


class Index:
    """An index on disk, mapped into memory: only what a search touches is read. Any thread may search."""

    def __init__(self, manifest: Manifest, bm25: BM25, offsets: np.ndarray, texts: mmap.mmap) -> None:
        self.manifest, self._bm25, self._offsets, self._texts = manifest, bm25, offsets, texts

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Open the index in `folder` after checking every file against the manifest. Raises `RetrievalError`."""
        from bm25s import BM25

        manifest = _read_manifest(folder / MANIFEST)
        for name in FILES:
            _check_file(folder / name, manifest.files.get(name))
        try:
            bm25 = BM25.load(folder / SCORES, mmap=True, allow_pickle=False, show_progress=False, **BM25_SETTINGS)
            offsets = np.load(folder / OFFSETS, mmap_mode="r", allow_pickle=False)
        except (ValueError, TypeError, KeyError) as error:  # pickled objects, or parameters that bm25s has not
            raise RetrievalError(f"{folder}: not an index of this project ({error}); {AGAIN}") from error
        _check_counts(folder, manifest, bm25, offsets)
        with (folder / PASSAGES).open("rb") as file:
            return cls(manifest, bm25, offsets, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def __len__(self) -> int:
        return self.manifest.passages

    def search(self, question: str, k: int = 5) -> list[Hit]:
        """At most `k` passages that share a word with the question, best first; equal ones in the index's order.

        A word counts once, however often the question says it; of a long question the first 4,000 characters are read.
        """
        words = dict.fromkeys(_words(question[:QUESTION_CHARACTERS], Stemmer.Stemmer("english")))
        known = [self._bm25.vocab_dict[word] for word in words if word in self._bm25.vocab_dict]
        if not known or k < 1:
            return []
        scores = self._bm25.get_scores_from_ids(known)
        return [Hit(self._passage(row), float(scores[row])) for row in _best(scores, min(k, len(self)))]

    def _passage(self, row: int) -> Passage:
        start, end = self._offsets[row : row + 2]
        return Passage.model_validate_json(self._texts[start:end])


class _Store:
    """Takes passages one at a time: writes each as a line, and keeps its words as numbers."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.stemmer = file, Stemmer.Stemmer("english")
        self.rows: list[list[int]] = []
        self.vocabulary: dict[str, int] = {}  # numbered as they come: bm25s's own numbering changes from run to run
        self.offsets, self.ids, self.documents = [0], set[str](), set[str]()

    def add(self, passage: Passage) -> None:
        if passage.id in self.ids:
            raise RetrievalError(f"passage {passage.id!r} occurs twice; give every passage its own id")
        self.ids.add(passage.id)
        self.documents.add(passage.document)
        words = _words(f"{passage.title}\n{passage.text}", self.stemmer)
        self.rows.append([self.vocabulary.setdefault(word, len(self.vocabulary)) for word in words])
        self.offsets.append(self.offsets[-1] + self.file.write(passage.model_dump_json().encode() + b"\n"))


def _words(text: str, stemmer: Stemmer.Stemmer) -> list[str]:
    """Stems of a text's words. A stemmer has state, so that no two threads may share one; making one takes 0.2 µs."""
    words = _word.findall(unicodedata.normalize("NFKC", text).lower())
    return stemmer.stemWords([word for word in words if word not in _stop_words])


def _best(scores: np.ndarray, k: int) -> list[int]:
    """Rows of the `k` best scores above 0, best first; bm25s's own selection breaks ties as it falls."""
    least = np.partition(scores, -k)[-k]
    rows = np.flatnonzero((scores >= least) & (scores > 0))
    return rows[np.argsort(-scores[rows], kind="stable")][:k].tolist()


def _write_manifest(folder: Path, counts: dict[str, int]) -> Manifest:
    files = {name: File(bytes=(folder / name).stat().st_size, sha256=_sha256(folder / name)) for name in FILES}
    manifest = Manifest(schema=1, tokenizer=TOKENIZER, versions=versions(), files=files, **counts)
    text = json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest


def _read_manifest(path: Path) -> Manifest:
    try:
        manifest = parse_record(json.loads(path.read_text(encoding="utf-8")), Manifest, str(path))
    except OSError as error:
        raise RetrievalError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from error
    except ValueError as error:  # not JSON, not UTF-8, or not a manifest: the record's own error names the path
        reason = str(error).removeprefix(f"{path}: ")
        raise RetrievalError(f"{path}: not the manifest of an index ({reason}); {AGAIN}") from error
    if manifest.tokenizer != TOKENIZER:
        raise RetrievalError(f"{path}: the index was built with another tokenizer; {AGAIN}")
    for package, here in versions().items():
        if (there := manifest.versions.get(package)) != here:
            raise RetrievalError(f"{path}: the index was built with {package} {there}, here is {here}; {AGAIN}")
    return manifest


def _check_file(path: Path, stated: File | None) -> None:
    if stated is None:
        raise RetrievalError(f"{path}: not in the manifest; {AGAIN}")
    try:
        size, digest = path.stat().st_size, _sha256(path)
    except OSError as error:
        raise RetrievalError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from error
    if size != stated.bytes:
        raise RetrievalError(f"{path}: {size} bytes, but the manifest says {stated.bytes}; {AGAIN}")
    if digest != stated.sha256:
        raise RetrievalError(f"{path}: its SHA-256 is not the one in the manifest; {AGAIN}")


def _check_counts(folder: Path, manifest: Manifest, bm25: BM25, offsets: np.ndarray) -> None:
    """Files that are whole, each by itself, but not of one index would be found out in the middle of a search."""
    passages, words = manifest.passages, manifest.vocabulary
    counted = len(offsets) - 1, int(offsets[-1]), bm25.scores["num_docs"], len(bm25.scores["indptr"]) - 1
    if counted != (passages, manifest.files[PASSAGES].bytes, passages, words) or len(bm25.vocab_dict) != words:
        raise RetrievalError(f"{folder / MANIFEST}: its files are not of one index of {passages} passages; {AGAIN}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
