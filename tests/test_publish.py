"""Publishing by the real command to a Hub on loopback: what arrives, and what the plain clients read back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from jobs.step import read_step, run_step
from local_hub.seeding import seed
from local_hub.testing import RunningHub, running_hub
from qa import retrieval
from qa.records import Passage
from qa.retrieval import MANIFEST
from tests.card_reading import table_headed
from tests.publishing import REPOSITORIES, api, command, commits, fetch, publish, refused, repo_type, seed_qwen
from tests.runs import ENDPOINT, NAME, NAMESPACE, QWEN, add_arc, copy_run, qwen_run, rewrite

TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
FIGURES = {"evaluation/metrics.json"} | {f"evaluation/{name}.png" for name in ("accuracy", "flips", "reliability")}
PAGE = {"space/about.md", "space/examples.json", "space/items.jsonl", "ladder/ladder.png"}
OLLAMA = {"system", "template", "params"}
COMMON = {"README.md", ".gitattributes"}
WHEEL = "llama_cpp_python-0.0.1-py3-none-linux_x86_64.whl"
REPORT = {"report.md", "loss.png"}
SPLITS = {f"research_qa/{split}.parquet" for split in ("train", "validation", "test")}
FILES = {
    "dataset": SPLITS | {"decontamination.json", "space/test_questions.jsonl"},
    "index": {MANIFEST, *retrieval.FILES},
    "base": {"config.json", "generation_config.json", "model.safetensors"} | TOKENIZER,
    "adapter": {"adapter_config.json", "adapter_model.safetensors", f"{NAME}-lora.gguf"} | TOKENIZER | FIGURES | REPORT,
    "merged": {"config.json", "generation_config.json", "model.safetensors"} | TOKENIZER | FIGURES,
    "base_gguf": {f"{NAME}-base-{kind}.gguf" for kind in ("F16", "Q4_K_M", "imatrix")} | OLLAMA,
    "gguf": {f"{NAME}-{kind}.gguf" for kind in ("F16", "Q4_K_M", "imatrix")}
    | (OLLAMA | FIGURES | PAGE | {f"wheels/{WHEEL}"}),
}
READ_BACK = """
import contextlib, io, json, pathlib, re, sys
from huggingface_hub import DatasetCard, ModelCard

names, said = json.loads(sys.argv[1]), {}
for kind, name in names.items():
    card = (DatasetCard if kind in ("dataset", "index") else ModelCard).load(name)
    card.validate()
    for snippet in re.findall(r"```python\\n(.*?)```", card.content, re.DOTALL):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(snippet, scope := {})
        said[kind] = out.getvalue()
        if kind == "dataset":
            said["rows"] = {split: len(rows) for split, rows in scope["questions"].items()}
            said["columns"] = scope["questions"]["train"].column_names
        elif kind == "index" and "passages" in scope:
            said["passages"] = scope["passages"].column_names
        elif kind == "index":
            said["found"] = [hit.passage.id for hit in scope["index"].search("method 7")]
        elif kind == "adapter":
            said["trained on"] = scope["model"].peft_config["default"].base_model_name_or_path
        elif "GGUF" in name:
            said[kind + " model"] = scope["model"].metadata["general.architecture"]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


PICKLES = ("training_args.bin", "optimizer.pt", "scheduler.pth", "rows.pkl")


def plant(run: Path) -> None:
    """Put pickles into every folder of a run; the exact lists of files below show that none goes out."""
    for folder in (run, *(path for path in sorted(run.rglob("*")) if path.is_dir())):
        for name in PICKLES:
            (folder / name).write_bytes(b"\x80\x04a pickle that must stay here")


def add_wheel_and_report(run: Path) -> None:
    """What a run has where a page is to be deployed, and where training wrote its report."""

    def build(folder: Path) -> dict[str, str]:
        (folder / WHEEL).write_bytes(b"PK a wheel")
        return {"file": WHEEL}

    run_step("build_wheel", run / "wheel", arguments={}, inputs={}, work=build, command="python -m jobs.build_wheel")
    (run / "adapter" / "report.md").write_text("# The training\n", encoding="utf-8")
    (run / "adapter" / "loss.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")


@pytest.fixture(scope="module")
def world(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that has been published, and the command's own words."""
    folder = tmp_path_factory.mktemp("world")
    run = copy_run(folder)
    add_wheel_and_report(run)
    plant(run)
    done = publish(hub, run, folder / "home")
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(run=run, home=folder / "home", said=done.stdout, folder=folder)


@pytest.fixture
def spoilable(world: Any, tmp_path: Path) -> Any:
    """The same run before it was published, to be broken."""
    return SimpleNamespace(run=copy_run(tmp_path), home=tmp_path / "home")


def test_every_repository_is_named_with_its_address_and_revision(hub: RunningHub, world: Any) -> None:
    published = json.loads((world.run / "cards" / "published.json").read_text())
    assert {kind: entry["repository"] for kind, entry in published.items()} == REPOSITORIES
    for kind, repository in REPOSITORIES.items():
        assert published[kind]["revision"] == api(hub).repo_info(repository, repo_type=repo_type(kind)).sha
        assert published[kind]["address"] in world.said
        assert tags(hub, repository, repo_type(kind)) == {"v1": published[kind]["revision"]}
    assert world.said.splitlines()[-1].split() == ["release", "v1"]
    record = json.loads((world.run / "cards" / "step.json").read_text())
    assert record["arguments"]["hub"] == hub.endpoint
    verified = record["figures"]["verified"]
    assert (verified["file"], verified["prompts"], verified["agreed"]) == (f"{NAME}-Q4_K_M.gguf", 24, 24)


def tags(hub: RunningHub, repository: str, kind: str) -> dict[str, str]:
    """Tag → the commit that it stands for."""
    return {tag.name: tag.target_commit for tag in api(hub).list_repo_refs(repository, repo_type=kind).tags}


def test_each_card_names_those_before_it_by_commit_and_the_others_by_name(hub: RunningHub, world: Any) -> None:
    published = json.loads((world.run / "cards" / "published.json").read_text())
    for place, kind in enumerate(REPOSITORIES):
        text = fetch(hub, world.home, REPOSITORIES[kind], "README.md", repo_type(kind)).decode()
        assert text == (world.run / "cards" / kind / "README.md").read_text(encoding="utf-8")
        _, *rows = table_headed(text, "published with it")
        assert [row[1] for row in rows] == [name for other, name in REPOSITORIES.items() if other != kind]
        before = [published[other]["revision"] for other in list(REPOSITORIES)[:place]]
        assert [row[2] for row in rows] == [*(revision[:12] for revision in before), *["its newest"] * (6 - place)]
        for revision, other in zip(before, REPOSITORIES.values(), strict=False):
            assert re.search(rf"huggingface.co/(datasets/)?{other}/tree/{revision}\)", text)


def test_repositories_hold_what_is_allowed_in_one_commit(hub: RunningHub, world: Any) -> None:
    for kind, repository in REPOSITORIES.items():
        found = set(api(hub).list_repo_files(repository, repo_type=repo_type(kind)))
        assert found == FILES[kind] | COMMON
        assert commits(hub, kind) == 2  # the Hub's own, and ours


def test_no_path_of_this_machine_is_published(hub: RunningHub, world: Any) -> None:
    base = REPOSITORIES["base"]
    config = json.loads(fetch(hub, world.home, REPOSITORIES["adapter"], "adapter_config.json"))
    assert (config["base_model_name_or_path"], config["revision"]) == (base, api(hub).model_info(base).sha)
    for kind, repository in REPOSITORIES.items():
        for name in FILES[kind] | {"README.md"}:
            content = fetch(hub, world.home, repository, name, repo_type(kind))
            assert str(world.folder.parent).encode() not in content
            assert b"footnote-run-" not in content, (kind, name)
            for secret in (ENDPOINT, "open-sesame", "gpu.example.org"):
                assert secret.encode() not in content, (kind, name)


def test_plain_clients_read_it_back_as_the_cards_say(hub: RunningHub, world: Any) -> None:
    """Every Python example of every card is run as it stands, in a process that knows nothing of this project."""
    done = command(hub, world.home, "-c", READ_BACK, json.dumps(REPOSITORIES))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["rows"] == {"train": 40, "validation": 8, "test": 18}
    assert {"question", "choices", "answer", "prompt", "completion", "evidence"} <= set(said["columns"])
    assert said["passages"] == list(Passage.model_fields)
    assert said["found"][0] == "p7"
    assert said["trained on"] == REPOSITORIES["base"]
    assert said["gguf model"] == said["base_gguf model"] == "qwen2"
    start = {kind: said[kind][:16] for kind in ("adapter", "merged", "base")}  # later on rounding to bf16 tells
    assert start["adapter"] == start["merged"] != start["base"]


def test_published_again_there_is_no_new_commit(hub: RunningHub, world: Any) -> None:
    again = publish(hub, world.run, world.home)
    assert again.returncode == 0
    assert again.stdout.count("unchanged") == len(REPOSITORIES)
    elsewhere = world.folder / "elsewhere"
    shutil.copytree(world.run, elsewhere, ignore=shutil.ignore_patterns("cards"))
    fresh = publish(hub, elsewhere, world.home)  # nothing is known here of the first time: the files are compared
    assert fresh.returncode == 0, fresh.stderr
    assert fresh.stdout.count("unchanged") == len(REPOSITORIES)
    assert {commits(hub, kind) for kind in REPOSITORIES} == {2}
    for kind, repository in REPOSITORIES.items():
        assert list(tags(hub, repository, repo_type(kind))) == ["v1"]


def test_what_was_added_by_hand_is_removed_and_what_changed_is_sent(hub: RunningHub, spoilable: Any) -> None:
    name = "changing"
    assert publish(hub, spoilable.run, spoilable.home, "--name", name).returncode == 0
    repository = f"{NAMESPACE}/{name}-lora"
    api(hub).upload_file(path_or_fileobj=b"\x80\x04", path_in_repo="training_args.bin", repo_id=repository)
    done = publish(hub, spoilable.run, spoilable.home, "--name", name)
    assert done.returncode == 0, done.stderr
    assert "training_args.bin" not in api(hub).list_repo_files(repository)
    assert commits(hub, "adapter", name) == 4
    before, after = ("dataset", "index", "base"), ("merged", "base_gguf", "gguf")
    assert {commits(hub, kind, name) for kind in before} == {2}
    assert {commits(hub, kind, name) for kind in after} == {3}  # their cards name the adapter's new commit
    assert done.stdout.splitlines()[-1].split() == ["release", "v1.1"]
    for entry in json.loads((spoilable.run / "cards" / "published.json").read_text()).values():
        assert tags(hub, entry["repository"], entry["kind"])["v1.1"] == entry["revision"]
        assert entry["tag"] == "v1.1"


def test_only_some_parts_are_published_and_the_others_stay(hub: RunningHub, spoilable: Any) -> None:
    name = "parts"
    done = publish(hub, spoilable.run, spoilable.home, "--name", name, "--only", "gguf")
    assert done.returncode == 0, done.stderr
    assert [info.id for info in api(hub).list_models(author=NAMESPACE, search=name)] == [f"{NAMESPACE}/{name}-GGUF"]
    done = publish(hub, spoilable.run, spoilable.home, "--name", name, "--only", "base_gguf,dataset")
    assert done.returncode == 0, done.stderr
    published = json.loads((spoilable.run / "cards" / "published.json").read_text())
    assert set(published) == {"gguf", "base_gguf", "dataset"}
    refused(publish(hub, spoilable.run, spoilable.home, "--only", "ladder"), "--only ladder", "gguf")
    refused(publish(hub, spoilable.run, spoilable.home, "--only", ""), "--only (empty)", "gguf")


def test_private_stays_private(hub: RunningHub, world: Any, spoilable: Any) -> None:
    done = publish(hub, spoilable.run, spoilable.home, "--name", "secret", "--private", "--only", "gguf")
    assert done.returncode == 0, done.stderr
    assert api(hub).model_info(f"{NAMESPACE}/secret-GGUF").private
    shown = publish(hub, spoilable.run, spoilable.home, "--private", "--only", "gguf")
    refused(shown, REPOSITORIES["gguf"], "public")


def test_licence_and_notice_come_from_the_base_model(hub: RunningHub, world: Any, tmp_path: Path) -> None:
    run = qwen_run(tmp_path)
    refused(publish(hub, run, tmp_path / "home", "--name", "qwen"), "base model Qwen/Qwen2.5-3B-Instruct", "404")
    seed_qwen(hub, tmp_path / "seed")
    done = publish(hub, run, tmp_path / "home", "--name", "qwen")
    assert done.returncode == 0, done.stderr
    for kind in ("lora", "merged", "GGUF", "base-GGUF"):
        licence = fetch(hub, tmp_path, f"{NAMESPACE}/qwen-{kind}", "LICENSE").decode()
        notice = fetch(hub, tmp_path, f"{NAMESPACE}/qwen-{kind}", "NOTICE").decode()
        assert licence.startswith("Qwen RESEARCH LICENSE AGREEMENT")
        assert notice.startswith(
            "Qwen is licensed under the Qwen RESEARCH LICENSE AGREEMENT, Copyright (c) Alibaba Cloud."
        )
        assert "were changed" in notice
    config = json.loads(fetch(hub, tmp_path, f"{NAMESPACE}/qwen-lora", "adapter_config.json"))
    assert config["base_model_name_or_path"] == "Qwen/Qwen2.5-3B-Instruct"
    assert config["revision"] == "main"
    info = api(hub).model_info(f"{NAMESPACE}/qwen-GGUF")
    assert {"base_model:quantized:demo/qwen-merged", "license:other"} <= set(info.tags)


def test_licence_and_revision_are_those_of_the_base_that_was_trained_on(hub: RunningHub, tmp_path: Path) -> None:
    seed_qwen(hub, tmp_path / "seed")
    then = api(hub).model_info(QWEN).sha
    run = qwen_run(tmp_path / "run")
    record = read_step(run / "adapter")
    rewrite(run / "adapter" / "step.json", arguments=record.arguments | {"revision": then})
    (tmp_path / "seed" / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    seed(hub.store, tmp_path / "seed", QWEN, "model")
    assert api(hub).model_info(QWEN).card_data.license == "mit"
    done = publish(hub, run, tmp_path / "run" / "home", "--name", "pinned")
    assert done.returncode == 0, done.stderr
    config = json.loads(fetch(hub, tmp_path, f"{NAMESPACE}/pinned-lora", "adapter_config.json"))
    assert config["revision"] == then
    for kind in ("lora", "merged", "GGUF", "base-GGUF"):
        data = api(hub).model_info(f"{NAMESPACE}/pinned-{kind}").card_data
        assert data.license_name == "qwen-research", kind


def test_arc_from_a_folder_is_published_with_its_own_card(hub: RunningHub, spoilable: Any) -> None:
    add_arc(spoilable.run, "excerpt", revision="")
    folder = spoilable.home.parent / "excerpt"
    refused(publish(hub, spoilable.run, spoilable.home, "--name", "folder"), "excerpt/README.md")
    folder.mkdir()
    (folder / "README.md").write_text(
        "---\nlicense: cc-by-sa-4.0\n---\nAn excerpt of ARC, Clark et al.\n", encoding="utf-8"
    )
    done = publish(hub, spoilable.run, spoilable.home, "--name", "folder")
    assert done.returncode == 0, done.stderr
    repository = f"{NAMESPACE}/folder-qa"
    assert b"Clark et al." in fetch(hub, spoilable.home, repository, "arc/README.md", "dataset")
    card = (spoilable.run / "cards" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert f"https://huggingface.co/datasets/{repository}/blob/main/arc/README.md" in card
    adapter = ModelCard((spoilable.run / "cards" / "adapter" / "README.md").read_text(encoding="utf-8"))
    assert adapter.data.datasets == [repository]  # a folder is no repository
    tested = {(r.dataset_type, r.dataset_config) for r in adapter.data.eval_results}
    assert tested == {(repository, "research_qa"), (repository, "arc")}


def test_help_is_quick_and_says_what_it_does(hub: RunningHub, world: Any) -> None:
    done = command(hub, world.home, "-X", "importtime", "-m", "jobs.publish", "--help")
    assert "--namespace" in done.stdout
    assert not re.search(r"\| +(torch|transformers|datasets|pyarrow)$", done.stderr, re.MULTILINE)
