"""Licences are inherited, not typed: read from the cards of what a run was made from, and carried into its own."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import httpx2
from huggingface_hub import ModelCard, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RemoteEntryNotFoundError
from yaml import YAMLError

from jobs.errors import UserError, first_line
from jobs.hub import explain
from jobs.licence_names import spdx_name

IMPROVED = {"qwen-research": "Improved using Qwen", "qwen": "Improved using Qwen"}  # clause 4b of both licences
HUB_NAMES = {"odc-by-1.0": "odc-by"}  # where the Hub's name is not SPDX's in lower case
_NOTICE = re.compile(r"attribution notices.{0,200}?:\s*[\"“]([^\"”]+)[\"”]", re.DOTALL)


class Licensed(Protocol):
    """A record with the licence of its document."""

    @property
    def licence(self) -> str: ...

    @property
    def document(self) -> str: ...


@dataclass(frozen=True)
class Licence:
    """A licence as a card's front matter names it, and the files that must go with what is made under it."""

    license: str | list[str]
    license_name: str | None = None
    license_link: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def improved(self) -> str:
        """The words that the base model's licence wants in the documentation of what is made from it."""
        return IMPROVED.get(self.license_name or "", "")

    @property
    def words(self) -> str:
        names = [self.license] if isinstance(self.license, str) else self.license
        if not self.license_name:
            return ", ".join(names)
        return ", ".join([*(name for name in names if name != "other"), self.license_name])


def base_licence(repository: str, revision: str) -> Licence:
    """The licence in the base model's own card at a revision, with its LICENSE and the notice that it asks to be kept.

    A model can change its licence: what was made from it stands under the one that it had then.
    """
    card = _load_card(repository, revision)
    if not card.data.license:
        raise UserError(f"base model {repository}: its card names no licence, so nothing made from it can be published")
    text = _read(repository, "LICENSE", revision)
    files = {} if text is None else {"LICENSE": text} | _notice(text, repository)
    return Licence(card.data.license, card.data.license_name, card.data.license_link, files)


def documents_licence(licences: Iterable[str]) -> Licence:
    """The licence of what is made from documents alone: theirs, as the Hub writes them.

    `other` stands beside them for those that the Hub does not know, or that a document does not name.
    """
    found = sorted({spdx_name(licence) for licence in licences})
    named = {licence: _hub_name(licence) for licence in found if licence}
    strangers = [licence for licence, name in named.items() if not _hub_knows(name)]
    names = sorted({name for licence, name in named.items() if licence not in strangers} - {"other"})
    others = [*strangers, *(["not named by some of the documents"] if "" in found else [])]
    names += ["other"] if others or "other" in named.values() else []
    return Licence(names[0] if len(names) == 1 else names, ", ".join(others) or None)


def count_licences(records: Iterable[Licensed]) -> list[dict[str, Any]]:
    """Records and documents under each licence, most first; an empty licence is one that nobody named."""
    counts, documents = Counter[str](), defaultdict[str, set[str]](set)
    for record in records:
        licence = spdx_name(record.licence)
        counts[licence] += 1
        documents[licence].add(record.document)
    return [
        {"licence": licence, "records": count, "documents": len(documents[licence])}
        for licence, count in counts.most_common()
    ]


def _load_card(repository: str, revision: str) -> ModelCard:
    text = _read(repository, "README.md", revision)
    if text is None:
        raise UserError(f"base model {repository}: no card there; its licence must be read first")
    try:
        return ModelCard(text.decode("utf-8"))
    except (ValueError, YAMLError) as error:
        raise UserError(f"base model {repository}: its card cannot be read ({first_line(error)})") from None


def _hub_name(licence: str) -> str:
    name = "-".join(licence.lower().split())
    return HUB_NAMES.get(name, name)


@cache
def _hub_knows(licence: str) -> bool:
    try:
        ModelCard(f"---\nlicense: {json.dumps(licence)}\n---\n").validate()
    except ValueError:
        return False
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise explain(error, "the check of the documents' licences") from None
    return True


def _read(repository: str, name: str, revision: str) -> bytes | None:
    """A file of a model; None where it has none (of a LICENSE, the card's link stands for it)."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(hf_hub_download(repository, name, revision=revision, local_dir=folder)).read_bytes()
        except RemoteEntryNotFoundError:
            return None
        except LocalEntryNotFoundError as error:
            raise UserError(f"base model {repository}: the Hub cannot be reached ({first_line(error)})") from None
        except (HfHubHTTPError, httpx2.HTTPError) as error:
            raise explain(error, f"base model {repository} at {revision}") from None


def _notice(licence: bytes, repository: str) -> dict[str, bytes]:
    """A NOTICE with the attribution that the licence quotes, and the statement that the files were changed."""
    if not (quoted := _NOTICE.search(licence.decode("utf-8", "replace"))):
        return {}
    attribution = " ".join(quoted[1].split())
    return {"NOTICE": f"{attribution}\nThe files here were changed: they are made from {repository}.\n".encode()}
