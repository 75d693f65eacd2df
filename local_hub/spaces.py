"""How far a Space is. Nothing is built or run here: each look at it finds it one stage further.

A test may decide how a build ends: `store.update(repo, ends="BUILD_ERROR", log=["…"])`; with
`heals=True` it ends well after a factory reboot.
"""

from typing import Any

from local_hub.cards import safe_front_matter
from local_hub.commits import Commit
from local_hub.store import Meta, Store

Runtime = dict[str, Any]
BUILD = ("BUILDING", "BUILDING", "APP_STARTING")  # what the first looks after a commit find
START = ("RUNNING_APP_STARTING",)  # after a restart, or a variable that changed


def settled(store: Store, meta: Meta, head: Commit) -> str:
    """The stage in which a Space with these files and settings ends up."""
    card = safe_front_matter(store.read_text(head, "README.md"))
    if meta.get("paused"):
        return "PAUSED"
    if card.get("sdk", "static") != "static" and card.get("app_file", "app.py") not in head["tree"]:
        return "NO_APP_FILE"
    return meta.get("ends") or ("RUNNING" if card else "NO_APP_FILE")


def runtime(store: Store, meta: Meta, head: Commit) -> Runtime:
    """What `/runtime` answers: the stage, the commit that it is about, and the hardware."""
    end, ahead = settled(store, meta, head), _ahead(meta, head)
    hardware = meta.get("hardware") or "cpu-basic"
    return {
        "stage": ahead[0] if ahead and end not in ("PAUSED", "NO_APP_FILE") else end,
        "sha": head["id"],
        "hardware": {"current": hardware, "requested": hardware},
        "gcTimeout": meta.get("sleep_time"),
        "storage": None,
        "replicas": {"current": 1, "requested": 1},
        "volumes": meta.get("volumes") or None,
    }


def _ahead(meta: Meta, head: Commit) -> list[str]:
    """Stages that are still to be seen."""
    return list(BUILD) if meta.get("built") != head["id"] else list(meta.get("ahead") or [])


def looked(meta: Meta, head: Commit) -> Meta:
    """The settings after somebody saw the stage."""
    return {"built": head["id"], "ahead": _ahead(meta, head)[1:]}


def restarted(meta: Meta, *, factory: bool = False) -> Meta:
    """The settings after a restart, or after a factory reboot, which builds anew; `restarts` and `rebuilds` count."""
    settings: Meta = {"paused": False, "ahead": list(START), "restarts": meta.get("restarts", 0) + 1}
    if factory:
        settings |= {"ahead": list(BUILD), "rebuilds": meta.get("rebuilds", 0) + 1}
        settings |= {"ends": None} if meta.get("heals") else {}
    return settings


def log_lines(meta: Meta, head: Commit) -> list[str]:
    """What the log of the last build or run says."""
    return meta.get("log") or [f"===== {head['title']}: nothing is built here ====="]
