"""What the Hub says about a repository: the card's data, tags worked out from it, and the list of its files."""

import json
from typing import Any

from local_hub.cards import as_list, safe_front_matter
from local_hub.commits import Commit, Entry
from local_hub.names import RepoId
from local_hub.objects import pointer
from local_hub.spaces import runtime
from local_hub.store import Meta, Store

Payload = dict[str, Any]


def repo_info(store: Store, repo: RepoId, meta: Meta, commit: Commit, blobs: bool = False) -> Payload:
    """The whole answer of GET /api/{models|datasets|spaces}/{id}."""
    card = safe_front_matter(store.read_text(commit, "README.md"))
    siblings = [sibling(path, entry, blobs) for path, entry in commit["tree"].items()]
    common: Payload = {
        "_id": stable_id(repo),
        "id": repo.id,
        "author": repo.owner,
        "sha": commit["id"],
        "lastModified": commit["date"],
        "createdAt": meta["created"],
        "private": meta["private"],
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "cardData": card,
        "siblings": siblings,
        "usedStorage": used_storage(commit),
    }
    specific = {"model": model_part, "dataset": dataset_part, "space": space_part}[repo.kind]
    return {**common, **specific(store, repo, meta, commit, card)}


def stable_id(repo: RepoId) -> str:
    """A stable `_id`; the client carries it around without a meaning."""
    return f"{repo.kind}:{repo.id}".encode().hex()[:24]


def used_storage(commit: Commit) -> int:
    """Bytes of the distinct contents at this commit."""
    return sum({entry["oid"]: entry["size"] for entry in commit["tree"].values()}.values())


def lfs_info(entry: Entry) -> Payload:
    size = len(pointer(entry["sha256"] or "", entry["size"]))
    return {"sha256": entry["sha256"], "size": entry["size"], "pointerSize": size}


def sibling(path: str, entry: Entry, blobs: bool) -> Payload:
    if not blobs:
        return {"rfilename": path}
    shown: Payload = {"rfilename": path, "size": entry["size"], "blobId": entry["oid"]}
    return {**shown, "lfs": lfs_info(entry)} if entry["lfs"] else shown


def model_part(store: Store, repo: RepoId, meta: Meta, commit: Commit, card: Payload) -> Payload:
    config = _json_file(store, commit, "config.json")
    library = card.get("library_name") or _library(commit, config)
    causal = any("CausalLM" in str(name) for name in config.get("architectures") or [])
    part: Payload = {
        "modelId": repo.id,
        "library_name": library,
        "pipeline_tag": card.get("pipeline_tag") or ("text-generation" if causal else None),
        "config": {key: config[key] for key in ("architectures", "model_type") if key in config},
        "model-index": card.get("model-index"),
    }
    part["tags"] = model_tags(card, commit, part)
    return part


def _json_file(store: Store, commit: Commit, path: str) -> Payload:
    try:
        data = json.loads(store.read_text(commit, path) or "{}")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _library(commit: Commit, config: Payload) -> str | None:
    if "adapter_config.json" in commit["tree"]:
        return "peft"
    if "model_type" in config:
        return "transformers"
    return "gguf" if _has_suffix(commit, ".gguf") else None


def _has_suffix(commit: Commit, suffix: str) -> bool:
    return any(path.endswith(suffix) for path in commit["tree"])


def model_tags(card: Payload, commit: Commit, part: Payload) -> list[str]:
    tags = [part["library_name"], *(kind for kind in ("safetensors", "gguf") if _has_suffix(commit, f".{kind}"))]
    tags += [part["config"].get("model_type"), part["pipeline_tag"], *as_list(card.get("tags"))]
    tags += [f"dataset:{name}" for name in as_list(card.get("datasets"))]
    bases = as_list(card.get("base_model"))
    tags += [f"base_model:{base}" for base in bases]
    tags += [f"base_model:{_relation(card, commit)}:{base}" for base in bases]
    if part["model-index"]:
        tags.append("model-index")
    return _unique([*tags, *_shared_tags(card)])


def _relation(card: Payload, commit: Commit) -> str:
    """The card's word, or else the Hub's guess from the files."""
    if card.get("base_model_relation"):
        return str(card["base_model_relation"])
    if "adapter_config.json" in commit["tree"]:
        return "adapter"
    return "quantized" if _has_suffix(commit, ".gguf") else "finetune"


def _shared_tags(card: Payload) -> list[str]:
    languages, licences = as_list(card.get("language")), as_list(card.get("license"))
    return [*languages, *(f"license:{licence}" for licence in licences), "region:us"]


def _unique(tags: list[str | None]) -> list[str]:
    return list(dict.fromkeys(tag for tag in tags if tag))


def dataset_part(store: Store, repo: RepoId, meta: Meta, commit: Commit, card: Payload) -> Payload:
    keys = ("task_categories", "task_ids", "annotations_creators", "multilinguality", "size_categories")
    tags = [f"{key}:{value}" for key in keys for value in as_list(card.get(key))]
    tags += [f"language:{value}" for value in as_list(card.get("language"))]
    tags += [f"license:{value}" for value in as_list(card.get("license"))]
    formats = [f"format:{kind}" for kind in ("parquet", "json", "csv") if _has_suffix(commit, f".{kind}")]
    return {"tags": _unique([*tags, *formats, *as_list(card.get("tags")), "region:us"])}


def space_part(store: Store, repo: RepoId, meta: Meta, commit: Commit, card: Payload) -> Payload:
    sdk = card.get("sdk") or meta.get("sdk")
    subdomain = f"{repo.owner}-{repo.name}".lower().replace("_", "-").replace(".", "-")
    part = {"sdk": sdk, "subdomain": subdomain, "host": "", "runtime": runtime(store, meta, commit)}
    part["models"], part["datasets"] = as_list(card.get("models")), as_list(card.get("datasets"))
    return {**part, "tags": _unique([sdk, *as_list(card.get("tags")), "region:us"])}
