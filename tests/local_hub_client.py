"""The real clients against a local Hub, one scenario a process: they read their environment when they are imported.

Run by test_local_hub.py as `python local_hub_client.py SCENARIO FOLDER`; a scenario that returns has passed.
"""

import io
import os
import sys
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationCopy, HfApi, HfFileSystem, ModelCard, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

CARD = """---
license: other
license_name: qwen-research
base_model: Qwen/Qwen2.5-3B-Instruct
base_model_relation: adapter
library_name: peft
datasets: [allenai/ai2_arc]
tags: [research]
model-index:
- name: tiny
  results:
  - task: {type: question-answering}
    dataset: {type: ai2_arc, name: ARC}
    metrics: [{type: accuracy, value: 0.5}]
---
# A card with an accent: é <script>alert(1)</script>
"""
# One file of each kind: card, LFS by pattern, LFS by size, LFS by its NUL bytes, git, nothing, and a hard name.
FILES = {
    "README.md": CARD.encode(),
    "model.safetensors": bytes(range(256)) * 800,
    "long.txt": b"0123456789abcdef" * (11 * 65536),
    "nul.dat": b"a\0b" * 10,
    "nested/deep/config.txt": b"plain",
    "empty.txt": b"",
    "ünï cödé #1%.txt": "Größe".encode(),
}
LFS = {"model.safetensors", "long.txt", "nul.dat"}
REPO = "demo/tiny"


def write_files(folder: Path) -> Path:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def publish(folder: Path) -> None:
    """Creation, upload, no-op, history, refs, and everything that reads them back."""
    api, source = HfApi(), write_files(folder / "source")
    assert api.whoami()["name"] == "demo"
    assert api.create_repo(REPO).repo_id == REPO
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    with pytest.raises(HfHubHTTPError) as conflict:
        api.create_repo(REPO)
    assert conflict.value.response.status_code == 409
    first = api.upload_folder(repo_id=REPO, folder_path=source, commit_message="first", commit_description="why")
    assert api.upload_folder(repo_id=REPO, folder_path=source).oid == first.oid, "an identical upload is a no-op"
    info_and_listings(api, first.oid)
    history(api, folder, first.oid)
    refs(api, first.oid)
    changes(api)
    spaces_and_settings(api)


def info_and_listings(api: HfApi, sha: str) -> None:
    info = api.model_info(REPO, files_metadata=True)
    assert info.sha == sha
    assert info.card_data.base_model == "Qwen/Qwen2.5-3B-Instruct"
    assert info.card_data.eval_results[0].metric_value == 0.5
    assert (info.library_name, info.gated, info.private) == ("peft", False, False)
    wanted = {"base_model:adapter:Qwen/Qwen2.5-3B-Instruct", "license:other", "dataset:allenai/ai2_arc", "research"}
    assert wanted <= set(info.tags)
    assert {s.rfilename: s.size for s in info.siblings if s.rfilename in FILES} == {n: len(c) for n, c in FILES.items()}
    assert {s.rfilename for s in info.siblings if s.lfs} == LFS
    assert api.model_info(REPO, expand=["tags"]).sha is None
    assert set(api.list_repo_files(REPO)) == {*FILES, ".gitattributes"}
    tree = {item.path: item for item in api.list_repo_tree(REPO, recursive=True, expand=True)}
    assert tree["nested/deep"].tree_id
    assert tree["nul.dat"].last_commit.title == "first"
    assert [item.path for item in api.list_repo_tree(REPO, "nested/deep")] == ["nested/deep/config.txt"]
    assert [item.path for item in api.get_paths_info(REPO, ["nul.dat", "none", "nested"])] == ["nul.dat", "nested"]
    assert [model.id for model in api.list_models(author="demo", search="TIN")] == [REPO]
    assert HfFileSystem().read_bytes(f"{REPO}/ünï cödé #1%.txt") == FILES["ünï cödé #1%.txt"]


def history(api: HfApi, folder: Path, first: str) -> None:
    second = api.upload_file(repo_id=REPO, path_in_repo="nul.dat", path_or_fileobj=b"new\0", commit_message="second")
    assert Path(hf_hub_download(REPO, "nul.dat", revision=first)).read_bytes() == FILES["nul.dat"]
    assert Path(hf_hub_download(REPO, "nul.dat")).read_bytes() == b"new\0"
    copy = Path(snapshot_download(REPO, revision=first, local_dir=folder / "copy"))
    assert {name: (copy / name).read_bytes() for name in FILES} == FILES
    assert [c.title for c in api.list_repo_commits(REPO)] == ["second", "first", "initial commit"]
    with pytest.raises(HfHubHTTPError) as stale:
        api.upload_file(repo_id=REPO, path_in_repo="x", path_or_fileobj=b"x", parent_commit=first)
    assert stale.value.response.status_code == 412
    assert api.model_info(REPO).sha == second.oid


def refs(api: HfApi, first: str) -> None:
    api.create_branch(REPO, branch="feature/x", revision=first)
    api.create_branch(REPO, branch="feature/x", exist_ok=True)
    api.create_tag(REPO, tag="v1", revision=first)
    api.upload_file(repo_id=REPO, path_in_repo="only", path_or_fileobj=b"branch", revision="feature/x")
    assert Path(hf_hub_download(REPO, "only", revision="feature/x")).read_bytes() == b"branch"
    pull = api.upload_file(repo_id=REPO, path_in_repo="pr", path_or_fileobj=b"pr", create_pr=True)
    assert pull.pr_revision == "refs/pr/1"
    assert api.file_exists(REPO, "pr", revision="refs/pr/1")
    assert not api.file_exists(REPO, "pr")
    found = api.list_repo_refs(REPO, include_pull_requests=True)
    assert {branch.name for branch in found.branches} == {"main", "feature/x"}
    assert [(tag.name, tag.target_commit) for tag in found.tags] == [("v1", first)]
    assert [pr.ref for pr in found.pull_requests] == ["refs/pr/1"]
    api.delete_branch(REPO, branch="feature/x")
    api.delete_tag(REPO, tag="v1")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "only", revision="feature/x")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(REPO, "none")


def changes(api: HfApi) -> None:
    copies = [CommitOperationCopy("nul.dat", "copy.dat"), CommitOperationCopy("nested/deep/config.txt", "copy.txt")]
    api.create_commit(REPO, copies, commit_message="copy")
    assert Path(hf_hub_download(REPO, "copy.dat")).read_bytes() == b"new\0"
    assert Path(hf_hub_download(REPO, "copy.txt")).read_bytes() == b"plain"
    api.delete_file("copy.dat", REPO)
    api.delete_folder("nested", REPO)
    assert not {"copy.dat", "nested/deep/config.txt"} & set(api.list_repo_files(REPO))
    sha = api.model_info(REPO).sha
    for broken in ("---\na: [\n---\n", "---\nlicense: license\n---\n", "---\na: 1\na: 2\n---\n"):
        with pytest.raises(ValueError, match=r"(?i)invalid|license"):
            api.upload_file(repo_id=REPO, path_in_repo="README.md", path_or_fileobj=broken.encode())
    assert api.model_info(REPO).sha == sha, "a card that was refused leaves no commit"
    ModelCard(CARD.replace("research", "science")).push_to_hub(REPO)
    assert ModelCard.load(REPO).data.tags == ["science"]


def spaces_and_settings(api: HfApi) -> None:
    api.create_repo("demo/page", repo_type="space", space_sdk="gradio")
    assert api.space_info("demo/page").sdk == "gradio"
    assert api.get_space_runtime("demo/page").stage == "NO_APP_FILE"
    api.upload_file(repo_id="demo/page", repo_type="space", path_in_repo="app.py", path_or_fileobj=b"")
    api.upload_file(
        repo_id="demo/page", repo_type="space", path_in_repo="README.md", path_or_fileobj=b"---\nsdk: gradio\n---\n"
    )
    assert api.get_space_runtime("demo/page").stage == "BUILDING"
    assert api.wait_for_space("demo/page", poll_interval=0.01).stage == "RUNNING"
    api.add_space_variable("demo/page", "A", "b")
    assert api.get_space_variables("demo/page")["A"].value == "b"
    assert api.get_space_runtime("demo/page").stage == "RUNNING_APP_STARTING"  # a variable restarts it
    api.add_space_secret("demo/page", "KEY", "nobody-may-read-this")
    assert list(api.get_space_secrets("demo/page")) == ["KEY"]
    assert api.pause_space("demo/page").stage == "PAUSED"
    api.restart_space("demo/page")
    assert api.wait_for_space("demo/page", poll_interval=0.01).stage == "RUNNING"
    assert "nothing is built here" in "".join(api.fetch_space_logs("demo/page", build=True))
    api.move_repo("demo/page", "demo/moved", repo_type="space")
    assert [space.id for space in api.list_spaces(author="demo")] == ["demo/moved"]
    api.delete_repo("demo/moved", repo_type="space")
    assert not api.repo_exists("demo/moved", repo_type="space")
    api.create_repo("demo/data", repo_type="dataset")
    api.update_repo_settings("demo/data", repo_type="dataset", visibility="private")
    assert api.dataset_info("demo/data").private


def status_of(call, *args, **kwargs) -> int:  # type: ignore[no-untyped-def]
    with pytest.raises(HfHubHTTPError) as error:
        call(*args, **kwargs)
    return error.value.response.status_code


def rights(folder: Path) -> None:
    """Who is told what about a private repository, and who may write where."""
    owner, read, other = HfApi(), HfApi(token=os.environ["READ_TOKEN"]), HfApi(token=os.environ["OTHER_TOKEN"])
    anonymous, wrong = HfApi(token=False), HfApi(token="hf_" + "0" * 34)
    owner.create_repo("demo/secret", private=True)
    owner.upload_file(repo_id="demo/secret", path_in_repo="f", path_or_fileobj=b"f")
    for api, status in ((anonymous, 401), (other, 404)):
        with pytest.raises(RepositoryNotFoundError) as refused:
            api.model_info("demo/secret")
        assert refused.value.response.status_code == status
        with pytest.raises(RepositoryNotFoundError):
            api.hf_hub_download("demo/secret", "f")
        assert not api.repo_exists("demo/secret")
        assert not list(api.list_models(author="demo", search="secret"))
    assert status_of(wrong.model_info, "demo/secret") == 401
    assert status_of(wrong.whoami) == 401
    assert read.model_info("demo/secret").private
    assert Path(read.hf_hub_download("demo/secret", "f", cache_dir=folder)).read_bytes() == b"f"
    assert status_of(read.upload_file, repo_id="demo/secret", path_in_repo="g", path_or_fileobj=b"g") == 403
    assert status_of(read.create_repo, "demo/new") == 403
    assert status_of(other.create_repo, "demo/new") == 403
    assert status_of(anonymous.create_repo, "demo/new") == 401
    owner.create_repo("demo/open")
    assert status_of(other.upload_file, repo_id="demo/open", path_in_repo="g", path_or_fileobj=b"g") == 403
    assert status_of(other.delete_repo, "demo/open") == 403
    proposal = other.upload_file(repo_id="demo/open", path_in_repo="g", path_or_fileobj=b"g\0", create_pr=True)
    assert proposal.pr_revision == "refs/pr/1"
    assert status_of(other.upload_file, repo_id="demo/open", path_in_repo="h", path_or_fileobj=b"h",
                     revision="refs/pr/1") == 403  # fmt: skip
    owner.auth_check("demo/secret")
    assert not owner.repo_exists("gpt2")


def faults(folder: Path) -> None:
    """What the client does when the connection breaks, the Hub is busy, or an answer is lost; see the test."""
    api, content = HfApi(), os.urandom(3_000_000)
    api.create_repo("demo/cut")
    api.upload_file(repo_id="demo/cut", path_in_repo="cut.bin", path_or_fileobj=io.BytesIO(content))
    got = hf_hub_download("demo/cut", "cut.bin", cache_dir=folder / "cache")
    assert Path(got).read_bytes() == content, "resumed twice, and whole"
    before = api.model_info("demo/cut").sha
    with pytest.raises(HfHubHTTPError):
        api.upload_file(repo_id="demo/cut", path_in_repo="late", path_or_fileobj=b"late")
    landed = api.model_info("demo/cut").sha
    assert landed != before, "the commit landed although its answer was lost"
    assert api.upload_file(repo_id="demo/cut", path_in_repo="late", path_or_fileobj=b"late").oid == landed


def seeded(folder: Path) -> None:
    """ARC, the Qwen tokenizer, and a data set of our own, through datasets and transformers."""
    from datasets import Dataset, load_dataset
    from transformers import AutoTokenizer

    arc = load_dataset("allenai/ai2_arc", "ARC-Challenge")
    assert (arc["train"].num_rows, arc["validation"].num_rows, arc["test"].num_rows) == (1119, 299, 1172)
    tokenizer = AutoTokenizer.from_pretrained("Qwen/Qwen2.5-3B-Instruct")
    assert tokenizer.decode(tokenizer("Größe").input_ids) == "Größe"
    Dataset.from_dict({"question": ["why?", "how?"]}).push_to_hub("demo/questions", private=True)
    assert load_dataset("demo/questions", split="train")["question"] == ["why?", "how?"]


if __name__ == "__main__":
    {f.__name__: f for f in (publish, rights, faults, seeded)}[sys.argv[1]](Path(sys.argv[2]))
