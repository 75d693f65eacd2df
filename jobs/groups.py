"""Groups of documents that tell the same: they go to one side of the split together.

Four things join two documents: they are versions of one arXiv paper, have one title, have nearly one text (or one has
most of the other's), or one is about the other and says so in its opening.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobs.documents import DocumentText, collapse
from jobs.shingles import runs_of, words_of
from jobs.similar_texts import TextShelf
from jobs.sources.arxiv_ids import parse_id

_OPENING = 1500  # characters
_TITLE, _PHRASE = 3, 4  # words of a title that says enough by itself, and of one looked for in a text
_LONG = 6  # words of a title that is no term, whatever its case
_COMPANION = 3  # documents that an opening names at most; a survey or a course names more
_NAMED_BY = 3  # openings that name a title at most; more name a term ("The Hugging Face Hub"), not a document
_NAMED = re.compile(
    r"(?:arxiv:\s*|arxiv\.org/(?:abs|pdf|html|src|e-print)/)"
    r"(\d{4}\.\d{4,5}|[a-z-]+(?:\.[a-z]{2})?/\d{7})",
    re.I,
)
_TERM = re.compile(r"(?:[^()\s]+ ){1,6}\([A-Za-z-]*[A-Z]{2}[A-Za-z-]*\)")  # a title that is a term and its acronym
_FILE = re.compile(r"(?<![\d.])\d{4}\.\d{4,5}(?:v\d+)?(?!\d)")  # an arXiv number in a file's name

Words = tuple[str, ...]
Pairs = Iterator[tuple[int, int]]


@dataclass(frozen=True)
class _Seen:
    """What is kept of a document: its own arXiv numbers, those that it mentions, and the texts that can name titles."""

    name: str
    papers: frozenset[str]
    mentions: frozenset[str]
    title: Words
    written: str
    source: str
    texts: tuple[str, ...]


def group_documents(documents: Iterable[DocumentText]) -> dict[str, str]:
    """Document id → name of its group: the smallest document id in it. The documents' order does not matter."""
    with TextShelf() as shelf:
        seen = []
        for document in documents:
            seen.append(_look(document))
            shelf.add(document.text)
        pairs = [*_same(seen), *_companions(seen), *shelf.pairs()]
    roots = _components(len(seen), pairs)
    names: dict[int, str] = {}
    for root, one in zip(roots, seen, strict=True):
        names[root] = min(names.get(root, one.name), one.name)
    return {one.name: names[root] for root, one in zip(roots, seen, strict=True)}


def _look(document: DocumentText) -> _Seen:
    opening = "\n".join(map(collapse, re.split(r"\n\s*\n", document.text[:_OPENING])))
    texts = (document.title, document.source, opening)
    own = {found.paper for text in (document.document, document.source) if (found := parse_id(text))}
    own |= {number.partition("v")[0] for number in _FILE.findall(document.document)}
    named = {found.paper for text in texts for number in _NAMED.findall(text) if (found := parse_id(number))}
    return _Seen(
        name=document.document,
        papers=frozenset(own),
        mentions=frozenset(named - own),
        title=tuple(words_of(document.title)),
        written=collapse(document.title),
        source=collapse(document.source),
        texts=(collapse(document.title), collapse(document.source), opening),
    )


def _components(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The connected component of every document."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones, others = zip(*pairs, strict=True) if pairs else ((), ())
    graph = coo_array(([True] * len(pairs), (ones, others)), shape=(count, count))
    return connected_components(graph, directed=False)[1].tolist() if count else []


def _same(seen: Sequence[_Seen]) -> Pairs:
    """Documents with one id, one arXiv number or one title of three words or more."""
    first: dict[tuple[str, str | Words], int] = {}
    for number, one in enumerate(seen):
        keys: list[tuple[str, str | Words]] = [("id", one.name), *(("arxiv", paper) for paper in one.papers)]
        if len(one.title) >= _TITLE:
            keys.append(("title", one.title))
        for key in keys:
            if (other := first.setdefault(key, number)) != number:
                yield other, number


def _companions(seen: Sequence[_Seen]) -> Pairs:
    """Documents that name another by its arXiv number or its whole title, and few besides."""
    papers: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(seen):
        for paper in one.papers:
            papers[paper].append(number)
    for number, titled in enumerate(_titled(seen)):
        mentions = seen[number].mentions
        if len(titled) + len(mentions) <= _COMPANION:
            named = [place for paper in mentions for place in papers.get(paper, ())]
            yield from ((number, other) for other in (*named, *(other for places in titled for other in places)))


def _titled(seen: Sequence[_Seen]) -> list[list[list[int]]]:
    """For every document the titles that it names, each as the documents that have it."""
    titles: dict[Words, list[int]] = defaultdict(list)
    heads: dict[Words, set[Words]] = defaultdict(set)
    for number, one in enumerate(seen):
        if len(one.title) >= _PHRASE and not _TERM.fullmatch(one.written):
            titles[one.title].append(number)
            heads[one.title[:_PHRASE]].add(one.title)
    named = [_titles_in(one, heads, titles, seen) - {one.title} for one in seen]
    naming = Counter(title for some in named for title in some)
    return [[titles[title] for title in sorted(some) if naming[title] <= _NAMED_BY] for some in named]


def _titles_in(
    one: _Seen, heads: Mapping[Words, set[Words]], titles: Mapping[Words, Sequence[int]], seen: Sequence[_Seen]
) -> set[Words]:
    """Every title that stands whole in a document's title or opening, or in the source's address.

    A title of few words must stand there as it is written and between marks: “The Model Hub is free” uses a term.
    """
    found: set[Words] = set()
    for text in one.texts:
        words = tuple(words_of(text))
        for start, head in enumerate(runs_of(words, _PHRASE)):
            for title in heads.get(head, ()):
                told = len(title) >= _LONG or text == one.source
                if words[start : start + len(title)] == title and (
                    told or any(_between_marks(seen[place].written, text) for place in titles[title])
                ):
                    found.add(title)
    return found


def _between_marks(title: str, text: str) -> bool:
    """Whether a title stands by itself: quoted, as an item or a line of its own; not as words of a sentence."""
    return re.search(rf"(?:^|[^\w\s,]) ?{re.escape(title)}(?= ?(?:[^\w\s,'’]|$))", text, re.M) is not None
