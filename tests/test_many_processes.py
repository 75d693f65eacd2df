"""Several processes give what one gives: the same losses, adapter, rows and questions, and one error line in all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.torch import load_file
from torch.distributed import HashStore

from jobs import pipeline, shared_model
from jobs.config import RunConfig, Train
from jobs.config_file import CONFIGS
from jobs.data_config import Dataset, Reader, Writer
from jobs.errors import UserError
from jobs.preflight import Preflight
from jobs.question_models import Models
from jobs.step import read_step
from jobs.team import Team
from jobs.threads import one_thread
from jobs.train import train
from jobs.training.distributed import ASKED, rows_of_one, take_over
from jobs.write_questions import write_questions
from jobs.writers import teachers
from qa.prompts import ask_messages
from qa.records import write_records
from tests.tiny import tiny_model
from tests.tiny_teacher import INVENTED, TEXT, passage, teach

ROOT = Path(__file__).parents[1]
SETTINGS = Train(
    learning_rate=1e-2,
    epochs=2,
    dtype="float32",
    gradient_checkpointing=False,
    checkpoints_per_epoch=1,
    accuracy_questions=0,
    report_to="none",
    lora={"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": ("q_proj", "down_proj")},
)
STEPS, STOPPED_AT = 20, 7
STOPPED = f"""
import os, signal, sys
from jobs.errors import run_main
from jobs.team import one_voice
from jobs.train import main
from jobs.training.checkpoints import SaveAtEnds
step_end = SaveAtEnds.on_step_end
def asked_in_one(self, args, state, control, **rest):
    if state.global_step == {STOPPED_AT} and self.team.rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    step_end(self, args, state, control, **rest)
SaveAtEnds.on_step_end = asked_in_one
run_main(one_voice(main))
"""


def in_two(*arguments: str) -> list[tuple[int, str, str]]:
    """Code, output and errors of the same Python command in two processes that know of each other."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | meeting | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        said = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *words) for process, words in zip(started, said, strict=True)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a data set whose last step of an epoch is three rows, and a configuration."""
    folder = tmp_path_factory.mktemp("world")
    tiny_model(folder / "base")
    for split, count in (("train", 39), ("validation", 7)):
        (folder / "dataset" / "research_qa").mkdir(parents=True, exist_ok=True)
        rows = [_row(number) for number in range(count)]
        pq.write_table(pa.Table.from_pylist(rows), folder / "dataset" / "research_qa" / f"{split}.parquet")
    settings = {"train": SETTINGS.model_dump(mode="json"), "dataset": {"max_length": 128}, "name": "tiny", "seed": 3}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return folder


def _row(number: int) -> dict:
    """A row of the training data; questions and answers differ in length."""
    answer = f"It is {number + 1}{', as all of them know' * (number % 5)}."
    prompt = ask_messages(f"Which number follows {number}?{' Say it.' * (number % 3)}")
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": answer}]}


def command(world: Path, out: Path) -> list[str]:
    return [*map(str, (world / "dataset", "--base", world / "base", "--config", world / "tiny.yaml", "--out", out))]


def test_two_processes_train_as_one_does_also_after_a_stop(world: Path, tmp_path: Path) -> None:
    """The first half with the base whole in both, the second with FSDP2, as the configuration for two GPUs says."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    how = {"base": str(world / "base"), "revision": "main", "settings": SETTINGS, "max_length": 128, "seed": 3}
    with one_thread():
        train(world / "dataset", alone, **how)
    stopped = in_two("-c", STOPPED, *command(world, shared))
    assert [code for code, _, _ in stopped] == [75, 75], stopped
    assert [errors.count("stopped by") for _, _, errors in stopped] == [1, 0]
    assert not shared.exists()
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / "accelerate" / "two_gpus.yaml")]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "jobs.train", *command(world, shared)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("validation loss") == 1
    assert read_step(shared).figures["resumed_from"] == f"checkpoint-{STOPPED_AT}"
    histories = [json.loads((folder / "log_history.json").read_text()) for folder in (alone, shared)]
    for name, count in (("loss", STEPS), ("grad_norm", STEPS), ("tokens", STEPS), ("eval_loss", 3)):
        one, two = ([entry[name] for entry in history if name in entry] for history in histories)
        assert len(one) == len(two) == count
        assert one == pytest.approx(two, abs=1e-4), name
    adapters = [load_file(folder / "adapter_model.safetensors") for folder in (alone, shared)]
    assert adapters[0].keys() == adapters[1].keys()
    assert max((adapters[0][name] - adapters[1][name]).abs().max().item() for name in adapters[0]) < 1e-4


FAILING = """
import sys
from pathlib import Path
from jobs.errors import run_main
from jobs.team import Team, one_voice, run_shared
def main():
    team, nothing = Team.current(), lambda folder: {}
    run_shared(team, "train", Path(sys.argv[1]), arguments={}, inputs={}, work=nothing, share=nothing)
run_main(one_voice(main))
"""


def test_where_the_leader_fails_the_others_end_and_one_line_says_why(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    ended = in_two("-c", FAILING, str(tmp_path / "out"))
    assert [code for code, _, _ in ended] == [2, 1]
    errors = "".join(errors for _, _, errors in ended)
    assert errors.count("error:") == 1
    assert "Traceback" not in errors
    assert "holds files that no step made" in errors


def test_what_cannot_be_shared_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows_of_one(SETTINGS, 2) == 2
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv(ASKED, "true")
    with pytest.raises(UserError, match=r"train\.quantize: 4bit weights are not sharded"):
        take_over(SETTINGS.model_copy(update={"quantize": "4bit"}), 2)
    monkeypatch.setenv(ASKED, "true")
    assert take_over(SETTINGS, 2)
    assert (os.environ[ASKED], os.environ["ACCELERATE_MIXED_PRECISION"]) == ("false", "no")
    assert not take_over(SETTINGS, 2)


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Team, "current", lambda: Team(0, 3))
    refused = r"train\.batch_size: 4 rows cannot be shared out evenly to 3 processes; set a multiple of 3"
    how = {"base": "no/base", "revision": "main", "settings": SETTINGS, "max_length": 128, "seed": 3}
    with pytest.raises(UserError, match=refused):
        train(tmp_path / "dataset", tmp_path / "adapter", **how)
    with pytest.raises(UserError, match=refused):
        dict(Preflight(RunConfig(name="tiny"), tmp_path).checks())["processes"]()
    assert not list(tmp_path.iterdir())


def test_where_the_leader_fails_its_helpers_are_let_go_and_hold_each_model_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, loaded = HashStore(), []

    def load(*named: str) -> SimpleNamespace:
        loaded.append(named)
        return SimpleNamespace(identity=named)

    monkeypatch.setattr(shared_model, "meeting_place", lambda: store)
    monkeypatch.setattr(teachers, "load_local", load)
    writer = Writer(kind="transformers", model="m", reader=Reader(kind="transformers", model="m"))
    helper = Thread(target=Models(writer, Team(1, 2)).help_out, daemon=True)
    helper.start()
    with pytest.raises(UserError, match="no budget"), Models(writer, Team(0, 2)).helped():
        raise UserError("no budget")
    helper.join(20)
    assert not helper.is_alive()
    assert loaded == [("transformers", "m", "writer")]


TEACHING = """
import sys
from jobs.team import Team
from jobs.writers.teachers import TransformersModel
answer = TransformersModel.answer
def counted(self, *rest):
    with open(log_file, "a") as log:
        log.write(f"{Team.current().rank}\\n")
    return answer(self, *rest)
log_file = sys.argv.pop(1)
TransformersModel.answer = counted
from jobs.errors import run_main
from jobs.write_questions import main
run_main(main)
"""


def test_two_processes_ask_a_teacher_and_write_the_same_questions(tmp_path: Path) -> None:
    right = INVENTED | {
        "question": "What does LoRA train beside every linear layer?",
        "answer": "two small matrices",
        "evidence": "It trains two small matrices beside every linear layer of the network.",
    }
    (tmp_path / "teacher").mkdir()
    teach(tmp_path / "teacher", right)
    texts = (TEXT, f"{TEXT} It is document d0.", f"{TEXT} It is document d1.")
    passages = [passage(number, text) for number, text in enumerate(texts)]
    (tmp_path / "passages").mkdir()
    write_records(tmp_path / "passages" / "passages.jsonl", passages)
    writer = Writer(kind="transformers", model=str(tmp_path / "teacher"), found_within=0, cache=str(tmp_path / "one"))
    write_questions(tmp_path / "passages", tmp_path / "alone", writer=writer, dataset=Dataset(), seed=17)
    options = ["--writer", "transformers", "--model", writer.model, "--found-within", "0"]
    places = [str(tmp_path / "passages"), "--out", str(tmp_path / "shared"), "--cache", str(tmp_path / "two")]
    ended = in_two("-c", TEACHING, str(tmp_path / "asked"), *places, *options)
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert {*(tmp_path / "asked").read_text().split()} == {"0", "1"}
    alone, shared = (read_step(tmp_path / name) for name in ("alone", "shared"))
    assert alone.outputs["questions.jsonl"]["bytes"] > 0
    assert alone.outputs == shared.outputs  # by SHA-256
    assert alone.figures == shared.figures


@pytest.mark.parametrize(("rank", "done"), [(0, ["passages", "questions", "index"]), (1, ["questions"])])
def test_of_a_pipeline_the_others_do_what_is_shared(
    rank: int, done: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team, did = Team(rank, 2), []
    monkeypatch.setattr(Team, "current", lambda: team)
    monkeypatch.setattr(Team, "wait", lambda self: None)
    monkeypatch.setattr(Team, "tell", lambda self, word: "c" * 40)
    monkeypatch.setattr("jobs.preflight.refuse_early", lambda *_: did.append("looked ahead"))

    def steps(config: RunConfig, run: Path) -> list:
        assert config.base.revision == "c" * 40 or rank == 0
        return [(name, name, lambda out: (did.append(out.name), True)) for name in ("passages", "questions", "index")]

    monkeypatch.setattr(pipeline, "steps", steps)
    monkeypatch.setattr("jobs.hub.commit_of", lambda *_: "c" * 40)
    told = [step.name for step in pipeline.run_pipeline(RunConfig(name="tiny"), tmp_path)]
    assert did == ["looked ahead", *done] if rank == 0 else did == done
    assert told == (done if rank == 0 else [])


def test_the_configurations_differ_in_the_number_of_processes_alone() -> None:
    read = {path.stem: yaml.safe_load(path.read_text()) for path in (CONFIGS / "accelerate").glob("*.yaml")}
    counts = {name: (one["num_machines"], one["num_processes"]) for name, one in read.items()}
    assert counts == {"one_gpu": (1, 1), "two_gpus": (1, 2), "eight_gpus": (1, 8), "two_nodes": (2, 16)}
    sharded = [name for name, one in read.items() if one["distributed_type"] == "FSDP"]
    assert sorted(sharded) == ["eight_gpus", "two_gpus", "two_nodes"]
    assert all(read[name]["fsdp_config"] == read["two_gpus"]["fsdp_config"] for name in sharded)
    assert read["two_gpus"]["fsdp_config"]["fsdp_version"] == 2
