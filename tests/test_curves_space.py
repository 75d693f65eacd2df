"""The Space that shows a run's curves: private, made whole, given no secret; a Hub in trouble ends no training."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, Volume

from jobs.errors import UserError
from jobs.training import curves_space
from jobs.training.curves_space import CurvesSpace
from local_hub.faults import fail
from local_hub.testing import RunningHub, running_hub

SPACE, TOKEN = "demo/curves", "hf_" + "cUrve0123456789ab"
FILES = [".gitattributes", "README.md", "app.py", "requirements.txt"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def sent(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What went to buckets, of which the Hub on loopback has none."""
    asked: list[tuple[str, Any]] = []

    class Api(HfApi):
        def __init__(self) -> None:
            super().__init__(hub.endpoint, hub.write_token)

        def create_bucket(self, name: str, **options: Any) -> None:
            asked.append((name, options))

        def batch_bucket_files(self, name: str, *, add: list[tuple[Path, str]]) -> None:
            asked.append((name, [place for _, place in add]))

    monkeypatch.setattr(curves_space, "HfApi", Api)
    return asked


@pytest.fixture
def space(tmp_path: Path) -> CurvesSpace:
    (tmp_path / "trackio").mkdir()
    with sqlite3.connect(tmp_path / "trackio" / "footnote.db") as base:
        base.execute("CREATE TABLE metrics (step INTEGER)")
    return CurvesSpace(SPACE, tmp_path / "trackio")


def test_a_space_is_private_reads_a_bucket_and_is_given_no_secret(
    hub: RunningHub, sent: list[tuple[str, Any]], space: CurvesSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    space.start()
    space.close()
    api = curves_space.HfApi()
    info = api.space_info(SPACE)
    assert info.private
    assert [file.rfilename for file in info.siblings] == FILES
    assert [(one.source, one.mount_path) for one in info.runtime.volumes] == [("demo/curves-curves", "/data")]
    assert {name: one.value for name, one in api.get_space_variables(SPACE).items()} == {"TRACKIO_DIR": "/data/trackio"}
    assert not api.get_space_secrets(SPACE)
    assert sent[:2] == [
        ("demo/curves-curves", {"private": True, "exist_ok": True}),
        ("demo/curves-curves", ["trackio/footnote.db"]),
    ]
    stored = b"".join(path.read_bytes() for path in hub.store.root.rglob("*") if path.is_file())
    assert TOKEN.encode() not in stored


def test_a_space_that_was_half_made_is_made_whole_at_the_next_start(
    hub: RunningHub, sent: list[tuple[str, Any]], space: CurvesSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults.append(fail("POST", f"/{SPACE}/commit/", 403, message="not now"))
    space._turn()
    assert "training goes on" in capsys.readouterr().err
    api = curves_space.HfApi()
    assert [file.rfilename for file in api.space_info(SPACE).siblings] == [".gitattributes"]
    hub.faults.clear()
    for _ in range(2):  # the second finds it whole
        again = CurvesSpace(SPACE, space.folder)
        again._turn()
        assert again._ready
    assert [file.rfilename for file in api.space_info(SPACE).siblings] == FILES
    assert [one.title for one in api.list_repo_commits(SPACE, repo_type="space")].count("Show training curves") == 1
    assert capsys.readouterr().err == ""
    assert sent[-1] == ("demo/curves-curves", ["trackio/footnote.db"])


@pytest.mark.parametrize(
    ("private", "bucket", "file", "word"),
    [
        (True, "demo/curves-curves", b"import gradio\n", "another Space"),
        (True, "demo/other", b"", "another Space"),
        (False, "demo/curves-curves", b"", "public"),
    ],
)
def test_a_foreign_or_public_space_is_left_alone(
    sent: list[tuple[str, Any]], space: CurvesSpace, private: bool, bucket: str, file: bytes, word: str
) -> None:
    api, volume = curves_space.HfApi(), Volume(type="bucket", source=bucket, mount_path="/data")
    api.create_repo(SPACE, repo_type="space", space_sdk="gradio", private=private, space_volumes=[volume])
    if file:
        api.upload_file(path_or_fileobj=file, path_in_repo="app.py", repo_id=SPACE, repo_type="space")
    before = api.space_info(SPACE).sha
    with pytest.raises(UserError, match=word):
        space._make()
    assert api.space_info(SPACE).sha == before
    assert not sent


def test_a_hub_that_does_not_answer_is_told_once_and_ends_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    space = CurvesSpace(SPACE, tmp_path)
    space._turn()
    space._turn()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("the curves are not shown in the Space, and training goes on: demo/curves: ")
