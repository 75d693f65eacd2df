"""Publishing in tests: the real command against a Hub on loopback, and what the tests ask of that Hub. Not a test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download

from jobs.staging import DATA_KINDS
from local_hub.seeding import seed
from local_hub.testing import RunningHub
from tests.runs import NAME, NAMESPACE, QWEN

ROOT = Path(__file__).parents[1]
REPOSITORIES = {
    "dataset": f"{NAMESPACE}/{NAME}-qa",
    "index": f"{NAMESPACE}/{NAME}-index",
    "base": f"{NAMESPACE}/{NAME}-base",
    "adapter": f"{NAMESPACE}/{NAME}-lora",
    "merged": f"{NAMESPACE}/{NAME}-merged",
    "base_gguf": f"{NAMESPACE}/{NAME}-base-GGUF",
    "gguf": f"{NAMESPACE}/{NAME}-GGUF",
}
QWEN_CARD = f"""---
license: other
license_name: qwen-research
license_link: https://huggingface.co/{QWEN}/blob/main/LICENSE
language: [en]
pipeline_tag: text-generation
library_name: transformers
---
# Qwen2.5-3B-Instruct
"""
QWEN_LICENSE = """Qwen RESEARCH LICENSE AGREEMENT
c. You shall retain in all copies of the Materials that you distribute the following attribution notices within a
"Notice" text file distributed as a part of such copies: "Qwen is licensed under the Qwen RESEARCH LICENSE AGREEMENT,
Copyright (c) Alibaba Cloud. All Rights Reserved."
"""


def seed_qwen(hub: RunningHub, folder: Path) -> None:
    """Put the base model's card and licence on the Hub, without weights."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(QWEN_CARD, encoding="utf-8")
    (folder / "LICENSE").write_text(QWEN_LICENSE, encoding="utf-8")
    seed(hub.store, folder, QWEN, "model")


def command(hub: RunningHub, home: Path, *words: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python …` as a user would, against this Hub."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= hub.environment(home, token) | {"PYTHONPATH": str(ROOT)}
    if token == "":
        del environment["HF_TOKEN"]
    return subprocess.run(
        [sys.executable, *words], cwd=home.parent, env=environment, capture_output=True, text=True, check=False
    )


def publish(hub: RunningHub, run: Path, home: Path, *words: str, token: str | None = None) -> Any:
    """The command of the step; its run is named relative to the working folder, as users do."""
    named = ["--namespace", NAMESPACE, "--name", NAME]
    return command(hub, home, "-m", "jobs.publish", str(run.relative_to(home.parent)), *named, *words, token=token)


def api(hub: RunningHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.write_token)


def repo_type(kind: str) -> str:
    """`dataset` or `model`, for a kind of what is published."""
    return "dataset" if kind in DATA_KINDS else "model"


def commits(hub: RunningHub, kind: str, name: str = NAME) -> int:
    repository = REPOSITORIES[kind].replace(NAME, name)
    return len(api(hub).list_repo_commits(repository, repo_type=repo_type(kind)))


def fetch(hub: RunningHub, home: Path, repository: str, name: str, kind: str = "model") -> bytes:
    path = hf_hub_download(
        repository, name, repo_type=kind, endpoint=hub.endpoint, token=hub.write_token, cache_dir=home / "read"
    )
    return Path(path).read_bytes()


def refused(done: Any, *words: str) -> None:
    """One line on stderr with these words, and exit code 2."""
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in line, line
