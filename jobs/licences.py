"""Licences are inherited, not typed: read from the cards of what a run was made from, and carried into its own."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from huggingface_hub import ModelCard, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from jobs.errors import UserError
from jobs.hub import explain

IMPROVED = {"qwen-research": "Improved using Qwen", "qwen": "Improved using Qwen"}  # clause 4b of both licences
_NOTICE = re.compile(r"attribution notices.{0,200}?:\s*[\"“]([^\"”]+)[\"”]", re.DOTALL)


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
        return self.license_name or (self.license if isinstance(self.license, str) else ", ".join(self.license))


def base_licence(repository: str) -> Licence:
    """The licence in the base model's own card, with its LICENSE and the notice that it asks to be kept."""
    card = _load_card(repository)
    if not card.data.license:
        raise UserError(f"base model {repository}: its card names no licence, so nothing made from it can be published")
    text = _licence_file(repository)
    files = {} if text is None else {"LICENSE": text} | _notice(text, repository)
    return Licence(card.data.license, card.data.license_name, card.data.license_link, files)


def documents_licence(licences: Iterable[str]) -> Licence:
    """The licence of what is made from documents alone: theirs, as the Hub writes them, or `other` with their names."""
    found = sorted({licence.strip() for licence in licences})
    if not all(found):
        return Licence("other", "not named by some of the documents")
    names = ["-".join(licence.lower().split()) for licence in found]
    if not _hub_knows(names):
        return Licence("other", ", ".join(found))
    return Licence(names[0] if len(names) == 1 else names)


def _load_card(repository: str) -> ModelCard:
    try:
        return ModelCard.load(repository)
    except EntryNotFoundError:
        raise UserError(f"base model {repository}: no card there, or no Hub; its licence must be read first") from None
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise explain(error, f"base model {repository}") from None
    except ValueError as error:
        raise UserError(f"base model {repository}: its card cannot be read ({error})") from None


def _hub_knows(licences: list[str]) -> bool:
    try:
        ModelCard(f"---\nlicense: {json.dumps(licences)}\n---\n").validate()
    except ValueError:
        return False
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise explain(error, "the check of the documents' licences") from None
    return True


def _licence_file(repository: str) -> bytes | None:
    """The LICENSE file of a model; None where it has none (the card's link stands for it)."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(hf_hub_download(repository, "LICENSE", local_dir=folder)).read_bytes()
        except EntryNotFoundError:
            return None
        except (HfHubHTTPError, httpx2.HTTPError) as error:
            raise explain(error, repository) from None


def _notice(licence: bytes, repository: str) -> dict[str, bytes]:
    """A NOTICE with the attribution that the licence quotes, and the statement that the files were changed."""
    if not (quoted := _NOTICE.search(licence.decode("utf-8", "replace"))):
        return {}
    attribution = " ".join(quoted[1].split())
    return {"NOTICE": f"{attribution}\nThe files here were changed: they are made from {repository}.\n".encode()}
