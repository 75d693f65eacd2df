"""What is done for each document: its text and passages, or why it gives none. Runs in any process, on plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.config import Documents
from jobs.documents import DocumentText, Extract, Item, Rejection, UnreadableError, pick_metadata
from jobs.language import language_of
from jobs.licence_names import is_licence_file, spdx_name
from jobs.passages import cut_passages, lay_out
from jobs.readers import format_of, read_bytes, read_document

ASIDE = "licence file"  # a stage of its own: such a file is listed, but was never a document
STAGES = ("fetch", "read", "licence", "language", "passages")  # in which a document can be refused here, in order
JUDGED, ENOUGH_LETTERS = 5000, 200  # characters whose language is told, and letters without which it is not


class _RefusedError(Exception):
    """A document that is not taken: the stage and the reason."""


def read_items(items: Iterable[Mapping[str, Any]], *, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """For each item, as JSON values: `document` and `passages`, or `rejection`; `missing` are rejections of includes.

    `settings` are those of `Documents`.
    """
    documents = Documents.model_validate(settings)
    for values in items:
        item = Item.model_validate(values)
        try:
            yield {"origin": item.origin, **_read(item, documents)}
        except _RefusedError as refusal:
            stage, reason = refusal.args
            yield {"rejection": Rejection(name=item.name, reason=reason, stage=stage).model_dump(mode="json")}


def refused_licence(item: Item, documents: Documents, stated: str = "") -> str:
    """Why a document may not be used under the licence that it states itself, or else its source; "" if it may."""
    if name := _licence(item, documents, stated):
        known = {spdx_name(allowed).lower() for allowed in documents.licences}
        return "" if name.lower() in known else f"licence not on the list ({name})"
    may = {"local": item.origin == "local", "all": True, "none": False}[documents.unstated]
    return "" if may else "states no licence"


def _licence(item: Item, documents: Documents, stated: str) -> str:
    """Its own, its source's, its folder's, or the one configured, which is only for files of this machine."""
    configured = documents.licence if item.origin == "local" else ""
    return spdx_name(stated or item.stated.get("licence") or item.folder_licence or configured)


def _read(item: Item, documents: Documents) -> dict[str, Any]:
    if item.problem:
        raise _RefusedError("fetch", item.problem)
    if item.origin == "local" and not item.kind and is_licence_file(Path(item.path)):
        raise _RefusedError(ASIDE, "a licence, no document")
    if item.stated.get("licence") or not (item.path or item.text):  # a paper's text is not fetched if it is refused
        _refuse("licence", refused_licence(item, documents))
    try:
        extract = _extract(item, documents.pdf)
    except UnreadableError as error:
        raise _RefusedError("read", str(error)) from None
    document, sections = _document(item, extract, documents)
    passages = list(cut_passages(document, sections, documents))
    if not passages:
        _refuse("passages", f"no passage of {documents.passage_min_chars} characters of prose or more")
    missing = [_missing(item.name, name) for name in extract.missing]
    return {
        "document": document.model_dump(mode="json"),
        "passages": [passage.model_dump(mode="json") for passage in passages],
        "missing": [rejection.model_dump(mode="json") for rejection in missing],
    }


def _extract(item: Item, pdf: str) -> Extract:
    if item.text:
        return read_bytes(item.text.encode(), item.kind, stated=item.stated, pdf=pdf)
    if item.origin == "local":
        root = Path(item.root) if item.root else None
        return read_document(Path(item.path), kind=item.kind, stated=item.stated, pdf=pdf, root=root)
    try:
        data = Path(item.path).read_bytes()  # not by path: what was fetched has no folder whose files it may include
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror})") from None
    return read_bytes(data, item.kind, stated=item.stated, pdf=pdf, charset=item.charset)


def _document(item: Item, extract: Extract, documents: Documents) -> tuple[DocumentText, list[Any]]:
    text, sections = lay_out(extract.blocks)
    if not text.strip():
        _refuse("read", "no text in it besides code, tables of numbers and navigation")
    stated = pick_metadata(extract.metadata)
    _refuse("licence", refused_licence(item, documents, stated.get("licence", "")))
    _refuse("language", _other_language(text[:JUDGED], documents.languages))
    document = DocumentText(
        document=item.name,
        title=stated.get("title") or extract.title or Path(item.name).stem.replace("-", " ").replace("_", " "),
        format=item.kind or format_of(Path(item.path)),
        text=text,
        source=stated.get("source", ""),
        licence=_licence(item, documents, stated.get("licence", "")),
        date=stated.get("date", ""),
    )
    return document, sections


def _other_language(text: str, languages: tuple[str, ...]) -> str:
    if not languages or sum(map(str.isalpha, text)) < ENOUGH_LETTERS:
        return ""
    found = language_of(text)
    return "" if found in {"", *languages} else f"in another language ({found})"


def _refuse(stage: str, reason: str) -> None:
    if reason:
        raise _RefusedError(stage, reason)


def _missing(document: str, name: str) -> Rejection:
    reason = "included file is missing; the document was read without it"
    return Rejection(name=f"{document}: {name}", reason=reason, stage="include")
