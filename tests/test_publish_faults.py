"""Publishing where something is wrong: rights, the Hub, the run, the connection. Nothing is half-published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi

from jobs import sending
from jobs.card_facts import Run
from jobs.errors import UserError
from jobs.evaluation.report import write_items
from jobs.hub import Published, check_rights
from jobs.staging import Staged
from jobs.step import file_sha256, read_step
from local_hub.faults import fail, lose_answer
from local_hub.testing import RunningHub, running_hub
from qa.artifacts import Repositories
from tests.publishing import REPOSITORIES, api, commits, publish, refused
from tests.runs import NAME, NAMESPACE, answer, copy_run, rewrite


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def spoilable(tmp_path: Path) -> Any:
    """A run to be broken."""
    return SimpleNamespace(run=copy_run(tmp_path), home=tmp_path / "home")


@pytest.mark.parametrize(
    ("token", "words", "expected"),
    [
        ("", [], ["no token", "HF_TOKEN"]),
        ("hf_wrong", [], ["401", "HF_TOKEN"]),
        ("the Hub's read token", [], ["demo", "may not write", "HF_TOKEN"]),
        (None, ["--namespace", "somebody-else"], ["somebody-else", "--namespace"]),
    ],
)
def test_without_rights_nothing_is_sent(
    hub: RunningHub, spoilable: Any, token: str | None, words: list[str], expected: list[str]
) -> None:
    given = {"the Hub's read token": hub.read_token}.get(token or "", token)
    refused(publish(hub, spoilable.run, spoilable.home, "--name", "norights", *words, token=given), *expected)
    assert not list(api(hub).list_models(search="norights"))
    assert not (spoilable.run / "cards").exists()


def test_a_hub_that_is_down_is_named(hub: RunningHub, spoilable: Any) -> None:
    gone = SimpleNamespace(environment=lambda home, token: hub.environment(home, token) | {"HF_ENDPOINT": DEAD})
    refused(publish(gone, spoilable.run, spoilable.home), DEAD, "HF_ENDPOINT")


def test_a_hub_that_is_not_to_be_asked_is_named(hub: RunningHub, spoilable: Any) -> None:
    told = SimpleNamespace(environment=lambda home, token: hub.environment(home, token) | {"HF_HUB_OFFLINE": "1"})
    refused(publish(told, spoilable.run, spoilable.home), "while HF_HUB_OFFLINE is set; unset it")


DEAD = "http://127.0.0.1:9"


def cut_gguf(run: Path) -> None:
    path = run / "gguf" / f"{NAME}-Q4_K_M.gguf"
    path.write_bytes(path.read_bytes()[:-100])


def no_gguf(run: Path) -> None:
    path = run / "gguf" / f"{NAME}-Q4_K_M.gguf"
    path.write_bytes(b"<html>not here</html>")


def other_adapter(run: Path) -> None:
    """Train again by hand, into the same folder, and publish."""
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"other weights")
    _reseal(run / "adapter", "adapter_model.safetensors")


def other_base(run: Path) -> None:
    (run / "base" / "config.json").write_text("{}", encoding="utf-8")
    _reseal(run / "base", "config.json")


def other_gguf(run: Path) -> None:
    for step in ("ladder", "examples"):  # which would be named first
        shutil.rmtree(run / step)
    _reseal(run / "gguf", f"{NAME}-Q4_K_M.gguf", sha256="0" * 64)


def _reseal(step: Path, name: str, sha256: str = "") -> None:
    outputs = read_step(step).outputs
    changed = {"bytes": (step / name).stat().st_size, "sha256": sha256 or file_sha256(step / name)}
    rewrite(step / "step.json", outputs=outputs | {name: changed})


def other_prompts(run: Path) -> None:
    rows = [answer(model, n, True, prompt_sha256=f"{model}{n}") for model in ("merged", "gguf") for n in range(24)]
    write_items(run / "evaluation" / "items.parquet", rows)


def none_served(run: Path) -> None:
    """Types of which none is the one that is served."""
    for step in ("ladder", "examples"):
        shutil.rmtree(run / step)
    record = json.loads((run / "gguf" / "step.json").read_text().replace("Q4_K_M", "Q8_0"))
    rewrite(run / "gguf" / "step.json", **record)


def unproved(run: Path) -> None:
    """Exported without a data set: there is nothing to compare on."""
    rewrite(run / "gguf" / "step.json", figures=read_step(run / "gguf").figures | {"verified": None})


def half_proved(run: Path) -> None:
    figures = read_step(run / "gguf").figures
    figures["verified"].pop("q4_k_m")
    rewrite(run / "gguf" / "step.json", figures=figures)


def stranger(run: Path) -> None:
    """A file that somebody laid beside the verified ones."""
    shutil.copy(run / "gguf" / f"{NAME}-Q4_K_M.gguf", run / "base_gguf" / "stranger-Q8_0.gguf")


def changed_since(run: Path) -> None:
    """Another file of the same size, after the gate."""
    path = run / "gguf" / f"{NAME}-F16.gguf"
    with path.open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"\1" * 8)


SPOILT = {
    "another adapter": (other_adapter, ["merged: made from another adapter", "run it again"]),
    "another base": (other_base, ["adapter: made from another base", "run it again"]),
    "another file evaluated": (other_gguf, ["evaluation: made from another gguf", "run it again"]),
    "unverified": (other_prompts, [f"{NAME}-Q4_K_M.gguf", "24 of 24 prompts", "export"]),
    "not verified": (unproved, ["gguf", "not verified", "--dataset"]),
    "one file not verified": (half_proved, ["gguf", "not verified", "--dataset"]),
    "a stranger": (stranger, ["base_gguf", "stranger-Q8_0.gguf", "not verified", "take it out"]),
    "changed since": (changed_since, [f"{NAME}-F16.gguf", "is not the file that was verified", "export"]),
    "none served": (none_served, ["gguf: expected one Q4_K_M file", f"{NAME}-Q8_0.gguf", "export.types"]),
    "unfinished": (lambda run: (run / "merged" / "step.json").unlink(), ["merged", "step.json"]),
    "cut short": (cut_gguf, [f"{NAME}-Q4_K_M.gguf", "cut short", "export"]),
    "no GGUF": (no_gguf, [f"{NAME}-Q4_K_M.gguf", "not a GGUF"]),
    "local base": (lambda run: shutil.rmtree(run / "base"), ["adapter", "base.model"]),
    "no figures": (lambda run: (run / "evaluation" / "metrics.json").write_text("{"), ["metrics.json"]),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_a_run_that_is_not_whole_is_refused_before_the_first_byte(hub: RunningHub, spoilable: Any, fault: str) -> None:
    spoil, expected = SPOILT[fault]
    spoil(spoilable.run)
    refused(publish(hub, spoilable.run, spoilable.home, "--name", "broken"), *expected)
    assert not list(api(hub).list_models(search="broken"))
    assert not list(api(hub).list_datasets(search="broken"))


def test_what_somebody_else_put_there_is_not_deleted_unless_asked(hub: RunningHub, spoilable: Any) -> None:
    theirs = f"{NAMESPACE}/taken-merged"
    api(hub).create_repo(theirs)
    api(hub).upload_file(path_or_fileobj=b"weights", path_in_repo="pytorch_model.bin", repo_id=theirs)
    refused(publish(hub, spoilable.run, spoilable.home, "--name", "taken"), theirs, "pytorch_model.bin", "--replace")
    assert "pytorch_model.bin" in api(hub).list_repo_files(theirs)
    assert not list(api(hub).list_datasets(search="taken"))  # refused before the first byte
    done = publish(hub, spoilable.run, spoilable.home, "--name", "taken", "--replace")
    assert done.returncode == 0, done.stderr
    assert "pytorch_model.bin" not in api(hub).list_repo_files(theirs)


def test_a_bar_goes_over_the_repositories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bars, real = [], sending.bar
    monkeypatch.setattr(sending, "bar", lambda *words, **options: bars.append(real(*words, **options)) or bars[-1])
    sent = lambda name, kind, files, **_: Published(name, kind, "0" * 40, name, len(files), 0, True)  # noqa: E731
    monkeypatch.setattr(sending, "commit_files", sent)
    monkeypatch.setattr(sending, "render_card", lambda run, kind: f"{kind} after {sorted(run.revisions)}")
    staged = [Staged(kind, f"demo/x-{kind}", "model", {}) for kind in ("base", "merged", "gguf")]
    run = Run(tmp_path, Repositories(NAMESPACE, NAME), {})
    done = sending.commit_all(run, staged, {"dataset": {"revision": "1" * 40}}, private=False, folder=tmp_path)
    assert list(done) == ["base", "merged", "gguf"]
    assert [(each.desc.strip(), each.n, each.total, each.unit) for each in bars] == [("publish", 3, 3, "repository")]
    assert (tmp_path / "gguf" / "README.md").read_text() == "gguf after ['base', 'dataset', 'merged']"


def test_a_commit_that_landed_without_an_answer_is_a_success(hub: RunningHub, spoilable: Any) -> None:
    hub.faults[:] = [lose_answer("POST", r"/lost-lora/commit/")]
    try:
        done = publish(hub, spoilable.run, spoilable.home, "--name", "lost")
    finally:
        hub.faults.clear()
    assert done.returncode == 0, done.stderr
    assert {commits(hub, kind, "lost") for kind in REPOSITORIES} == {2}


def test_a_commit_that_failed_leaves_the_repository_as_it_was_and_can_be_repeated(
    hub: RunningHub, spoilable: Any
) -> None:
    hub.faults[:] = [fail("POST", r"/failing-lora/commit/", 403, message="not yours")]
    try:
        done = publish(hub, spoilable.run, spoilable.home, "--name", "failing")
    finally:
        hub.faults.clear()
    words = ["403 (not yours)", "nothing was changed there", "published before it, and whole: "]
    refused(done, f"{NAMESPACE}/failing-lora", *words, *(f"{NAMESPACE}/failing-{kind}" for kind in ("qa", "index")))
    assert api(hub).list_repo_files(f"{NAMESPACE}/failing-lora") == [".gitattributes"]
    assert not (spoilable.run / "cards").exists()
    done = publish(hub, spoilable.run, spoilable.home, "--name", "failing")
    assert done.returncode == 0, done.stderr
    assert {commits(hub, kind, "failing") for kind in REPOSITORIES} == {2}
    assert done.stdout.splitlines()[-1].split() == ["release", "v1"]


def test_a_file_that_the_hub_does_not_take_leaves_the_repository_as_it_was(tmp_path: Path) -> None:
    run = copy_run(tmp_path)
    with running_hub(tmp_path / "hub", [fail("PUT", r"lfs", status=403, times=99, message="no room left")]) as own:
        refused(publish(own, run, tmp_path / "home"), f"{NAMESPACE}/{NAME}-qa", "403", "no room left")
        assert api(own).list_repo_files(REPOSITORIES["dataset"], repo_type="dataset") == [".gitattributes"]
    assert not (run / "cards").exists()


TOKENS = {
    "fine-grained for another": ({"role": "fineGrained", "fineGrained": {"scoped": []}}, "me", "may not write to me"),
    "may only read there": ({"role": "write"}, "readers", "may only read in readers"),
    "not a member": ({"role": "write"}, "strangers", "the token is for me, readers, writers"),
    "fine-grained": (
        {
            "role": "fineGrained",
            "fineGrained": {"scoped": [{"entity": {"name": "me"}, "permissions": ["repo.content.read", "repo.write"]}]},
        },
        "me",
        None,
    ),
    "of an organisation": ({"role": "write"}, "writers", None),
}


@pytest.mark.parametrize("case", TOKENS)
def test_rights_are_read_from_the_token(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    token, namespace, refusal = TOKENS[case]
    orgs = [{"name": "readers", "roleInOrg": "read"}, {"name": "writers", "roleInOrg": "contributor"}]
    monkeypatch.setattr("jobs.hub.get_token", lambda: "hf_x")
    monkeypatch.setattr(HfApi, "whoami", lambda _: {"name": "me", "orgs": orgs, "auth": {"accessToken": token}})
    if refusal is None:
        check_rights(namespace)
    else:
        with pytest.raises(UserError, match=refusal):
            check_rights(namespace)
