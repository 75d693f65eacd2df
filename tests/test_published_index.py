"""The index that goes out: only passages under a licence that was to be taken, whole, and with its card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.build_index import build_index
from jobs.card_facts import Run
from jobs.cards import render_cards
from jobs.errors import UserError
from jobs.lineage import check_lineage
from jobs.publish import _kinds
from jobs.published_index import PublishedIndex, index_card, is_published
from jobs.staging import stage
from jobs.step import read_step
from qa.artifacts import Repositories
from qa.records import Passage, read_records, write_records
from qa.retrieval import FILES, MANIFEST, PASSAGES, Index
from tests.card_reading import front_matter, table_headed
from tests.dataset_run import DOCUMENTS, data_run, passage, read_run
from tests.runs import HOSTILE, NAME, NAMESPACE, copy_run, rewrite


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.licences._hub_knows", lambda licence: True)


def indexed(folder: Path, passages: list[Passage]) -> Run:
    """A run of these passages, with the index of all of them."""
    run = data_run(folder / "run")
    write_records(run / "passages" / PASSAGES, passages)
    build_index(run / "passages", run / "index")
    found = read_run(run)
    return Run(found.folder, found.names, found.steps | {"index": read_step(run / "index")})


def test_where_every_passage_has_a_licence_the_runs_own_index_goes_out(tmp_path: Path) -> None:
    run = indexed(tmp_path, [passage(number) for number in range(6)])
    staged = stage(run, "index", "card", tmp_path / "made")
    assert (staged.repository, staged.repo_type) == ("demo/footnote-data-index", "dataset")
    assert set(staged.files) == {"README.md", MANIFEST, *FILES}
    assert {path for name, path in staged.files.items() if name != "README.md"} == {
        run.folder / "index" / name for name in (MANIFEST, *FILES)
    }
    assert not (tmp_path / "made").exists()


def test_a_passage_without_a_licence_is_in_no_published_file(tmp_path: Path) -> None:
    secret = passage(5, id="secret#1", document="secret.md", text="Unlicensed zebra words.", licence=" ")
    run = indexed(tmp_path, [*(passage(number) for number in range(5)), secret])
    staged = stage(run, "index", "card", tmp_path / "made")
    for name, content in staged.files.items():
        assert b"zebra" not in (content if isinstance(content, bytes) else content.read_bytes()), name
    index = Index.load(tmp_path / "made")
    assert len(index) == 5
    assert index.search("scaled product 3")[0].passage.id == passage(3).id
    assert not index.search("zebra")
    assert len(Index.load(run.folder / "index")) == 6  # the run keeps its own
    assert [each.id for each in read_records(tmp_path / "made" / PASSAGES, Passage)] == [
        passage(number).id for number in range(5)
    ]
    assert "1 passages of documents that name no licence are left out" in index_card(run)


def test_where_no_passage_may_go_out_there_is_no_index(tmp_path: Path) -> None:
    run = indexed(tmp_path, [passage(number, licence="") for number in range(4)])
    assert not is_published(run)
    assert "index" not in _kinds(run, ())
    with pytest.raises(UserError, match=r"--only index: .* has no such part"):
        _kinds(run, ["index"])


def test_a_licence_off_the_list_is_refused(tmp_path: Path) -> None:
    run = indexed(tmp_path, [passage(0), passage(1, licence="CC-BY-NC-4.0")])
    with pytest.raises(UserError, match=r"index: paper-0\.md#2 is under CC-BY-NC-4\.0, which documents\.licences"):
        stage(run, "index", "", tmp_path / "made")


@pytest.mark.parametrize("name", [PASSAGES, MANIFEST, "bm25/vocab.index.json"])
def test_a_damaged_index_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    run = indexed(tmp_path, [passage(number) for number in range(3)])
    (run.folder / "index" / name).write_bytes(b"{")
    with pytest.raises(UserError, match=r"build the index again with python -m jobs\.build_index"):
        stage(run, "index", "", tmp_path / "made")


def test_an_index_of_other_passages_is_refused(tmp_path: Path) -> None:
    run = indexed(tmp_path, [passage(number) for number in range(3)])
    write_records(run.folder / "passages" / PASSAGES, [passage(number) for number in range(1, 4)])
    with pytest.raises(UserError, match="not an index of these passages"):
        PublishedIndex(run).folder(tmp_path / "made")


def test_an_index_of_another_collection_is_named(tmp_path: Path) -> None:
    run = copy_run(tmp_path)
    rewrite(run / "index" / "step.json", inputs={"passages": "0" * 64})
    steps = {path.parent.name: read_step(path.parent) for path in run.glob("*/step.json")}
    with pytest.raises(UserError, match="index: made from another passages; run it again"):
        check_lineage(run, steps)


def test_the_card_counts_what_is_there_and_attributes_it(tmp_path: Path) -> None:
    strange = passage(7, title=HOSTILE, licence="MIT", document="paper-3.md", id="strange")
    run = indexed(tmp_path, [passage(0), passage(1), passage(2), strange])
    text = index_card(run)
    data = front_matter(text)
    assert data["license"] == ["cc-by-4.0", "mit"]
    assert data["configs"] == [{"config_name": "passages", "data_files": PASSAGES, "default": True}]
    fields = {feature["name"]: feature["dtype"] for feature in data["dataset_info"]["features"]}
    assert list(fields) == list(Passage.model_fields)
    assert (fields["date"], fields["start"]) == ("string", "int64")
    assert {"footnote", "bm25"} <= set(data["tags"])
    assert text.split("# footnote-data-index\n")[1].lstrip().startswith("4 passages of 3 documents")
    assert table_headed(text, "licence")[1:] == [["CC-BY-4.0", "3", "2"], ["MIT", "1", "1"]]
    documents = table_headed(text, "title")
    assert [row[1] for row in documents[1:]] == ["paper-0.md", "paper-1.md", "paper-3.md"]
    assert sum(int(row[-1]) for row in documents[1:]) == 4
    versions = json.loads((run.folder / "index" / MANIFEST).read_text())["versions"]
    assert all(f"{package} {version}" in text for package, version in versions.items())
    assert DOCUMENTS > 3  # the others have no passage here, and are not listed


def test_its_card_is_among_the_cards_and_the_space_names_it(tmp_path: Path) -> None:
    cards = render_cards(Run.read(copy_run(tmp_path), Repositories(NAMESPACE, NAME)))
    assert f"# {NAME}-index\n" in cards["index"]
    assert "24 passages of 12 documents" in cards["index"]
    assert f'Index.load(Path(snapshot_download("{NAMESPACE}/{NAME}-index", repo_type="dataset")))' in cards["index"]
