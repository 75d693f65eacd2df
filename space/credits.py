"""Whose models these are: repository, exact revision and licence, read from the models' own cards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx2
import yaml
from huggingface_hub import constants, hf_hub_download, metadata_load
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from qa.artifacts import Reference
from qa.redaction import redact

UNREADABLE = "not readable"


@dataclass(frozen=True)
class Credit:
    """One line of the footer. `licence` is empty where there is no card or it names none, else it may be UNREADABLE."""

    title: str
    repository: str
    revision: str
    address: str
    licence: str = ""
    licence_link: str = ""


def credit_of(title: str, reference: Reference, path: Path) -> Credit:
    """The credit of a model file in the Hub's cache, whose folder is named by the commit."""
    commit = commit_of(path) or reference.revision
    name, link = _licence(reference.repository, commit)
    address = f"{redact(constants.ENDPOINT)}/{reference.repository}/tree/{commit}"
    return Credit(title, reference.repository, commit, address, name, link)


def commit_of(path: Path) -> str | None:
    """The commit of a file in the Hub's cache; None for a path elsewhere."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def _licence(repository: str, commit: str) -> tuple[str, str]:
    """Name of the licence and where it stands. Whatever somebody wrote into a card, the model itself stays usable."""
    try:
        data = metadata_load(hf_hub_download(repository, "README.md", revision=commit)) or {}
    except (EntryNotFoundError, HfHubHTTPError, httpx2.HTTPError):
        return "", ""
    except (yaml.YAMLError, ValueError, RecursionError):  # not YAML, not UTF-8, not a mapping, nested without end
        return UNREADABLE, ""
    licence = data.get("license_name") if data.get("license") == "other" else data.get("license")
    names = licence if isinstance(licence, list) else [licence or ""]
    if not all(isinstance(name, str) for name in names):
        return UNREADABLE, ""
    link = data.get("license_link")
    return ", ".join(names), link if isinstance(link, str) and link.startswith("https://") else ""
