"""The local Hub, as the real clients find it: see local_hub_client.py for what each scenario checks."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_hub.faults import cut_download, fail, lose_answer, too_many
from local_hub.seeding import repo_kind, seed, seed_all
from local_hub.testing import RunningHub, running_hub

CLIENT = Path(__file__).with_name("local_hub_client.py")
HUB_DATA = Path(__file__).parents[2] / "shared" / "data" / "hub"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "root") as running:
        yield running


def play(hub: RunningHub, scenario: str, folder: Path, **variables: str) -> None:
    environment = {**os.environ, **hub.environment(folder / "home"), **variables}
    command = [sys.executable, str(CLIENT), scenario, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def test_publish_and_read_back(hub: RunningHub, tmp_path: Path) -> None:
    play(hub, "publish", tmp_path)


def test_rights(hub: RunningHub, tmp_path: Path) -> None:
    other = hub.tokens.create("someone", "write")
    play(hub, "rights", tmp_path, READ_TOKEN=hub.read_token, OTHER_TOKEN=other)


def test_faults(hub: RunningHub, tmp_path: Path) -> None:
    cuts = cut_download(r"/resolve/.*/cut\.bin", after=1_000_000, times=2)
    busy, broken = too_many("POST", "/preupload/", retry_after=0), fail("POST", "/info/lfs/objects/batch", status=503)
    lost = lose_answer("POST", "/commit/", nth=2)
    hub.faults += [cuts, busy, broken, lost]
    play(hub, "faults", tmp_path)
    assert cuts.seen == 3, "two cut answers, then the rest of the file"
    assert (busy.seen, broken.seen, lost.seen) == (4, 2, 2)


def test_seeded_data(hub: RunningHub, tmp_path: Path) -> None:
    if not HUB_DATA.is_dir():
        pytest.skip("the folder of real data, ../shared/data/hub, is absent")
    assert {repo.id for repo in seed_all(hub.store, HUB_DATA)} == {"allenai/ai2_arc", "Qwen/Qwen2.5-3B-Instruct"}
    assert seed_all(hub.store, HUB_DATA) == [], "an unchanged folder is not published again"
    play(hub, "seeded", tmp_path)


@pytest.mark.parametrize(
    ("readme", "file", "kind"),
    [
        ("---\nconfigs: []\n---\n", "x.txt", "dataset"),
        ("---\ntask_categories: [qa]\n---\n", "x.txt", "dataset"),
        ("---\npipeline_tag: text-generation\ndatasets: [a/b]\n---\n", "train.jsonl", "model"),
        ("---\nsdk: gradio\n---\n", "app.py", "space"),
        ("no front matter", "data/train.parquet", "dataset"),
        ("no front matter", "model.gguf", "model"),
        ("no front matter", "x.txt", "model"),
        ("---\nconfigs: []\n---\n", ".repo_type", "model"),
    ],
)
def test_repo_kind(tmp_path: Path, readme: str, file: str, kind: str) -> None:
    (tmp_path / "README.md").write_text(readme)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("model")
    assert repo_kind(tmp_path) == kind


def test_a_changed_seed_is_published_again_and_pushes_survive_an_unchanged_one(hub: RunningHub, tmp_path: Path) -> None:
    folder = tmp_path / "seed" / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# one")
    (folder / "old.txt").write_text("old")
    assert seed(hub.store, folder, "owner/name", "model")
    (repo,) = hub.store.repos("model")
    hub.store.commit(repo, [], "pushed meanwhile", "owner")
    assert not seed(hub.store, folder, "owner/name", "model")
    assert hub.store.resolve(repo, "main")["title"] == "pushed meanwhile"
    (folder / "old.txt").unlink()
    (folder / "new.bin").write_bytes(b"\0" * 100)
    assert seed(hub.store, folder, "owner/name", "model")
    tree = hub.store.resolve(repo, "main")["tree"]
    assert set(tree) == {".gitattributes", "README.md", "new.bin"}
    assert tree["new.bin"]["lfs"]
