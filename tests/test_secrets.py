"""Planted tokens are searched in everything that the jobs write, print and send; and what the source never does."""

from __future__ import annotations

import ast
import functools
import itertools
import os
import re
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from jobs.collect import collect
from jobs.config import Dataset, Documents, Writer
from jobs.rows import row_of, write_rows
from jobs.step import run_step
from jobs.write_questions import write_questions
from local_hub.faults import Around
from local_hub.testing import RunningHub, running_hub
from tests.chat_server import running_chat_server
from tests.publishing import REPOSITORIES, api, command
from tests.runs import copy_run, question
from tests.spaces import SPACE, WHEEL, publish_page, write_wheel
from tests.tiny import tiny_model

ROOT = Path(__file__).parents[1]
API_KEY = "sk-planted/0123+4567 89=ab"
CHECKPOINTS = "demo/kept"
TINY = str(ROOT / "jobs" / "configs" / "tiny.yaml")
PYTHON = [
    path
    for part in ("qa", "jobs", "space", "local_hub", "scripts", "benchmarks")
    for path in (ROOT / part).rglob("*.py")
]
SOURCES = [ROOT / "app.py", *PYTHON]
TEXTS = [
    ROOT / "README.md",
    ROOT / "Makefile",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "jobs" / "configs").rglob("*.yaml"),
]
FAILING = """
import os
from pathlib import Path
from jobs.errors import run_main
from jobs.step import run_step

def work(folder):
    print("asking with", os.environ["HF_TOKEN"])
    raise ValueError(f"refused: {os.environ['OPENAI_API_KEY']}")

run_main(lambda: run_step("fail", Path("failing"), arguments={}, inputs={}, work=work))
"""
UNPICKLING = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def forms(secret: str) -> set[bytes]:
    """The secret as it is, quoted for an address, and in base64 wherever it begins in what was encoded."""
    plain = {secret.encode(), quote(secret, safe="").encode(), quote_plus(secret).encode()}
    shifted = [b"\0" * shift + secret.encode() for shift in range(3)]
    return plain | {encode(text)[4:-4] for text in shifted for encode in (b64encode, urlsafe_b64encode)}


def recording(seen: list[bytes]) -> Any:
    """A fault that spoils nothing and keeps addresses, headers and bodies; one header alone may hold the token."""

    def wrap(app: Any) -> Any:
        async def kept(scope: Any, receive: Any, send: Any) -> None:
            seen.extend([scope["raw_path"], scope["query_string"]])
            seen.extend(value for name, value in scope["headers"] if name != b"authorization")

            async def read() -> Any:
                message = await receive()
                seen.append(message.get("body", b""))
                return message

            await app(scope, read, send)

        return kept

    return lambda method, path: Around(wrap)


def data_set(folder: Path) -> Path:
    """Eight rows to train on, four to validate on."""
    rows = [row_of(question(number, task="research")) for number in range(8)]
    for split, count in (("train", 8), ("validation", 4)):
        write_rows(folder / "research_qa" / f"{split}.parquet", rows[:count])
    return folder


def train(hub: RunningHub, folder: Path) -> subprocess.CompletedProcess[str]:
    """A training that keeps its checkpoints on the Hub, with the token of the Hub's own store."""
    tiny_model(folder / "base")
    home = folder / "home-of-training"
    home.mkdir()
    (home / "token").write_text(hub.write_token, encoding="utf-8")
    settings = ["checkpoints_to=" + CHECKPOINTS, "epochs=1", "lora.r=2", "checkpoints_per_epoch=1"]
    words = ["--config", TINY, "--base", "base", "--out", "adapter"]
    words += [word for setting in settings for word in ("--set", f"train.{setting}")]
    return command(hub, home, "-m", "jobs.train", str(data_set(folder / "dataset")), *words, token="")


def write(folder: Path) -> list[dict[str, Any]]:
    """Questions by a teacher that wants a key; returns what it was sent, without the header that holds it."""
    (folder / "docs").mkdir()
    text = "LoRA keeps the pretrained weights frozen and learns little. Other words stand here as well. "
    (folder / "docs" / "lora.md").write_text(f"# LoRA\n\n{text * 4}\n", encoding="utf-8")
    collect(folder / "passages", documents=Documents(paths=(str(folder / "docs"),)))
    with running_chat_server() as server:
        server.reply = lambda request: '{"pairs": []}'
        writer = Writer(kind="openai", model="m", endpoint=server.address, cache=str(folder / "cache"))
        with pytest.raises(Exception, match="no question"):
            write_questions(folder / "passages", folder / "questions", writer=writer, dataset=Dataset(), seed=1)
        assert {request.pop("key") for request in server.requests} == {f"Bearer {API_KEY}"}
        return server.requests


def rehearse(hub: RunningHub, folder: Path) -> list[subprocess.CompletedProcess[str]]:
    """What only says what it would do: a rented GPU with the token as a secret, and the whole pipeline."""
    hf = [str(Path(sys.executable).with_name("hf")), "jobs", "uv", "run", "--dry-run", "--secrets", "HF_TOKEN"]
    job = [*hf, "jobs/train.py", "dataset", "--out", "adapter"]
    pipeline = [sys.executable, "-m", "jobs.pipeline", "--config", TINY, "--run", str(folder / "run"), "--dry-run"]
    environment = {**os.environ, **hub.environment(folder / "home-of-jobs")}
    return [
        subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        for words in (job, [*pipeline, "--namespace", "demo"])
    ]


def publish_all(hub: RunningHub, run: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Everything that a run publishes, and its page."""
    run_step("build_wheel", run / "wheel", arguments={}, inputs={}, work=write_wheel)
    return publish_page(hub, run, home, kinds=tuple(REPOSITORIES))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The small loop's steps that use a token, run in one folder beside a Hub that writes down what it is sent."""
    folder, sent = tmp_path_factory.mktemp("secrets"), []
    with pytest.MonkeyPatch.context() as patch, running_hub(tmp_path_factory.mktemp("hub")) as hub:
        patch.setenv("OPENAI_API_KEY", API_KEY)
        patch.setenv("OMP_NUM_THREADS", "1")  # several small processes at once, on cores that are busy
        hub.faults.append(recording(sent))
        with ThreadPoolExecutor(2) as pool:
            rehearsed = pool.submit(rehearse, hub, folder)
            run = copy_run(folder)
            published = pool.submit(publish_all, hub, run, folder / "home")
            done = {"train": train(hub, folder), "publish": published.result()}
            done |= {"hf jobs": rehearsed.result()[0], "pipeline": rehearsed.result()[1]}
            command(hub, folder / "home", "-c", FAILING)  # a bug's own traceback is shown as it is
        asked = write(folder)
        yield SimpleNamespace(folder=folder, sent=sent, asked=asked, done=done, hub=hub)


def test_each_step_did_what_it_uses_the_token_for(world: SimpleNamespace) -> None:
    for name, done in world.done.items():
        assert done.returncode == 0, (name, done.stderr)
    assert "checkpoint/whole.json" in api(world.hub).list_repo_files(CHECKPOINTS)
    found = {card.id for card in api(world.hub).list_models(author="demo")}
    found |= {card.id for card in api(world.hub).list_datasets(author="demo")}
    assert found == {*REPOSITORIES.values(), CHECKPOINTS}
    assert f"wheels/{WHEEL}" in api(world.hub).list_repo_files(REPOSITORIES["gguf"])
    assert "app.py" in api(world.hub).list_repo_files(SPACE, repo_type="space")
    note = (world.folder / "failing.failed.txt").read_text()
    assert "asking with [hidden]\n" in note
    assert "ValueError: refused: [hidden]\n" in note
    assert world.asked
    assert "HF_TOKEN" in world.done["hf jobs"].stdout
    assert len(world.sent) > 100
    assert (world.folder / "adapter.trackio" / "footnote.db").is_file()


def test_no_token_is_in_what_was_written_said_or_sent(world: SimpleNamespace) -> None:
    allowed = world.folder / "home-of-training" / "token"
    files = [path for path in world.folder.rglob("*") if path.is_file() and path != allowed]
    assert len(files) > 60
    said = [f"{done.stdout}{done.stderr}".encode() for done in world.done.values()]
    places = itertools.chain(
        ((path, path.read_bytes()) for path in files),
        ((path, str(path).encode()) for path in files),
        (("said", text) for text in said),
        (("sent", body) for body in world.sent),
        (("asked", repr(request).encode()) for request in world.asked),
    )
    planted = {form for secret in (world.hub.write_token, API_KEY) for form in forms(secret)}
    for place, content in places:
        assert not [form for form in planted if form in content], place


def test_the_search_finds_each_form() -> None:
    secret = "hf_" + "fOund0123456789"
    for text in (secret, quote(secret, safe=""), b64encode(f"user:{secret}".encode()).decode()):
        assert any(form in f"…{text}…".encode() for form in forms(secret)), text
    assert any(form in quote(API_KEY, safe="").encode() for form in forms(API_KEY))


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """The syntax of a file, as far as it is looked at here."""
    kinds = (ast.Call, ast.Import, ast.ImportFrom)
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)]


def calls(path: Path) -> Iterator[tuple[str, dict[str, ast.expr], list[ast.expr]]]:
    """Each call of a file: its name as it is written, its keywords, its other arguments."""
    for node in nodes(path):
        if isinstance(node, ast.Call):
            named = {word.arg: word.value for word in node.keywords if word.arg}
            yield ast.unparse(node.func), named, node.args


def imported(path: Path) -> Iterable[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def test_nothing_is_unpickled_and_no_code_of_a_repository_runs() -> None:
    assert len(SOURCES) > 150
    for path in SOURCES:
        assert not UNPICKLING & {name.partition(".")[0] for name in imported(path)}, path
        for name, named, _ in calls(path):
            assert "trust_remote_code" not in named, path
            assert not is_true(named.get("allow_pickle")), path
            assert name != "torch.load" or is_true(named.get("weights_only")), path
            assert name not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"), path
    for path in TEXTS:
        assert not re.search(r"trust_remote_code\s*[:=]\s*true", path.read_text(encoding="utf-8"), re.I), path


def test_no_token_stands_on_a_command_line() -> None:
    for path in SOURCES:
        for name, _, arguments in calls(path):
            if name == "add" or name.endswith("add_argument"):
                options = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
                assert not [word for word in options if re.search(r"(^|-)(token|key|secret|password)$", str(word))], (
                    path
                )
    for path in [*SOURCES, *TEXTS]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"--secrets?[ =]\"?[A-Z_]+=", text), path  # `--secrets NAME=value` is in a shell's history
        assert not re.search(r"\bhf_[A-Za-z0-9]{30,}", text), path
        for header in re.findall(r"^# secrets = (.*)$", text, re.M):
            assert re.fullmatch(r"\[(\"[A-Z_]+\"(, )?)*\]", header), path
