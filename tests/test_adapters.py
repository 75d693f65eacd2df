"""An adapter goes onto its own base only: by the record of the step that made it, else by its configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.adapters import base_of, check_base_of
from jobs.errors import UserError
from jobs.evaluation.sources import find_source
from jobs.step import run_step

QWEN = "Qwen/Qwen2.5-3B-Instruct"
COMMIT = "abc0" * 10  # the Hub is not asked for what is a commit already


def folder(path: Path, content: str) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(content, encoding="utf-8")
    return path


def adapter(path: Path, base: str, *, recorded: dict[str, Any] | None = None, **config: Any) -> Path:
    """An adapter as training leaves it: with a record where `recorded` has the step's arguments."""

    def work(out: Path) -> dict[str, Any]:
        values = {"base_model_name_or_path": base} | config
        (out / "adapter_config.json").write_text(json.dumps(values), encoding="utf-8")
        return {}

    if recorded is None:
        path.mkdir(parents=True)
        work(path)
    else:
        inputs = {"base": Path(base)} if Path(base).is_dir() else {}
        run_step("train", path, arguments={"base": base, **recorded}, inputs=inputs, work=work)
    return path


def test_another_base_of_the_same_last_name_is_refused(tmp_path: Path) -> None:
    base, other = folder(tmp_path / "a" / "base", "a"), folder(tmp_path / "b" / "base", "b")
    for recorded in ({"revision": "main"}, None):
        own = adapter(tmp_path / f"adapter-{bool(recorded)}", str(base), recorded=recorded)
        check_base_of(own, str(base), "main")
        assert find_source("adapter", own, base).base == find_source("adapter", own, None).base == str(base)
        with pytest.raises(UserError, match=r"was trained on .*a/base"):
            check_base_of(own, str(other), "main")
        with pytest.raises(UserError, match=r"was trained on .*a/base"):
            find_source("adapter", own, other)


def test_a_base_that_was_trained_again_is_refused_and_one_that_moved_is_not(tmp_path: Path) -> None:
    base = folder(tmp_path / "base", "a")
    own = adapter(tmp_path / "adapter", str(base), recorded={"revision": "main"})
    moved = base.rename(tmp_path / "moved")
    check_base_of(own, str(moved), "main")
    with pytest.raises(UserError, match=r"the folder .*base, which is not there any more"):
        find_source("adapter", own, None)
    (moved / "config.json").write_text("b", encoding="utf-8")
    with pytest.raises(UserError, match=r"another base than .*moved is now"):
        check_base_of(own, str(moved), "main")


@pytest.mark.parametrize("by", ["record", "configuration"])
def test_repository_and_revision_must_be_the_same(tmp_path: Path, by: str) -> None:
    own = (
        adapter(tmp_path / "adapter", QWEN, recorded={"revision": COMMIT})
        if by == "record"
        else adapter(tmp_path / "adapter", QWEN, revision=COMMIT)
    )
    assert base_of(own) == (QWEN, COMMIT)
    check_base_of(own, QWEN, COMMIT)
    assert find_source("adapter", own, None).base == f"{QWEN}@{COMMIT}"
    with pytest.raises(UserError, match=r"at abc0\w+, not at main"):
        check_base_of(own, QWEN, "main")
    with pytest.raises(UserError, match=r"not on Somebody/Qwen2.5-3B-Instruct"):
        check_base_of(own, "Somebody/Qwen2.5-3B-Instruct", COMMIT)


def test_a_configuration_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"adapter_config.json: holds no JSON object; expected the configuration of a peft adapter"
    ):
        base_of(tmp_path)
