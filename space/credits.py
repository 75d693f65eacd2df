"""Whose models these are: repository, exact revision and licence, read from the models' own cards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import ModelCard, constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from qa.artifacts import Reference


@dataclass(frozen=True)
class Credit:
    """One line of the footer. `licence` is empty where the card names none or cannot be read."""

    title: str
    repository: str
    revision: str
    address: str
    licence: str = ""
    licence_link: str = ""


def credit_of(title: str, reference: Reference, path: Path) -> Credit:
    """The credit of a model file in the Hub's cache, whose folder is named by the commit."""
    parts = path.parts
    commit = parts[parts.index("snapshots") + 1] if "snapshots" in parts else reference.revision
    name, link = _licence(reference.repository, commit)
    address = f"{constants.ENDPOINT}/{reference.repository}/tree/{commit}"
    return Credit(title, reference.repository, commit, address, name, link)


def _licence(repository: str, commit: str) -> tuple[str, str]:
    try:
        card = ModelCard.load(hf_hub_download(repository, "README.md", revision=commit), ignore_metadata_errors=True)
    except (EntryNotFoundError, HfHubHTTPError, httpx2.HTTPError):
        return "", ""
    data = card.data.to_dict()
    licence = data.get("license_name") if data.get("license") == "other" else data.get("license")
    link = str(data.get("license_link") or "")
    return str(licence or ""), link if link.startswith("https://") else ""
