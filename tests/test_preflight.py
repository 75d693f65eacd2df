"""The dry run finds before the first paid minute what would end a run later, and its estimate is arithmetic."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import hub as hub_module
from jobs import space_files
from jobs.config import Export, Lora, Train
from jobs.config_file import CONFIGS, load_config
from jobs.errors import UserError
from jobs.estimate import (
    GPUS,
    adapter_parameters,
    cost_table,
    disk_bytes,
    fits_without_recomputing,
    parameters,
    training_flops,
)
from jobs.gguf_export.names import file_name
from jobs.pipeline_steps import steps
from jobs.preflight import Preflight
from local_hub.seeding import seed_all
from local_hub.testing import RunningHub, running_hub
from tests.chat_server import running_chat_server
from tests.tiny_questions import make_question

ROOT = Path(__file__).parents[1]
QWEN_3B = SimpleNamespace(
    hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16, num_key_value_heads=2,
    vocab_size=151936, tie_word_embeddings=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def hub(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        seed_all(running.store, shared_data / "hub")
        yield running


def dry_run(hub: RunningHub, home: Path, *words: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.pipeline", "--config", "jobs/configs/qwen2.5-3b.yaml", "--dry-run"]
    command += ["--set", "dataset.decontamination.against=[]", *words]  # the hub here has no MMLU
    env = {**os.environ, **hub.environment(home, token), "COLUMNS": "300"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_a_test_set_that_cannot_be_had_is_named_before_anything_is_written(hub: RunningHub, tmp_path: Path) -> None:
    shown = dry_run(hub, tmp_path / "home", "--set", "dataset.decontamination.against=[mmlu:machine_learning]")
    assert shown.returncode == 2
    line = next(line for line in shown.stdout.splitlines() if "decontamination  " in line and "✗" in line)
    assert "cais/mmlu: no such data set" in line


def test_parameters_are_those_of_the_real_model() -> None:
    assert parameters(QWEN_3B) == pytest.approx(3_085_938_688, rel=1e-4)


def test_flops_and_cost_are_the_formulas() -> None:
    assert training_flops(QWEN_3B, [512], Train(epochs=1)) / 512 == pytest.approx(12.75e9, rel=4e-4)
    small = SimpleNamespace(**vars(QWEN_3B) | {"num_hidden_layers": 1, "tie_word_embeddings": False})
    weights, attended = parameters(small) - 151936 * 2048, 16 * 128  # embeddings are looked up, not multiplied
    assert adapter_parameters(small, Lora(r=2, target_modules=("q_proj", "v_proj"))) == 2 * (4096 + 2304)
    squares, adapter = 10**2 + 20**2, 6 * adapter_parameters(small, Lora())
    plain = 30 * (4 * weights + adapter) + 6 * squares * attended
    assert training_flops(small, [10, 20], Train(epochs=3)) == 3 * plain
    again = training_flops(small, [10, 20], Train(epochs=3), recompute=True)
    assert again == 3 * (plain + 2 * 30 * weights + 2 * squares * attended)


def test_what_a_training_costs_is_shown_where_it_fits() -> None:
    _, rate, price = GPUS["h200"]
    rows = round(rate * 1e12 * 0.25 * 3600 / training_flops(QWEN_3B, [512], Train()))  # an hour's
    table = cost_table(QWEN_3B, [512] * rows, Train(), 512, "x")
    again = training_flops(QWEN_3B, [512], Train(), recompute=True) / training_flops(QWEN_3B, [512], Train())
    cells = [list(column.cells) for column in table.columns]
    assert [column[-1] for column in cells] == [
        *("h200 (141 GB)", "1.00", f"{price:.2f}", f"{again:.2f}", f"{again * price:.2f}")
    ]
    kept = {name.partition(" ")[0]: hours != "–" for name, hours in zip(cells[0], cells[1], strict=True)}
    fits = {"l40sx1", "a100-large", "h200"}
    assert {name for name, fit in kept.items() if fit} == fits
    assert fits_without_recomputing(QWEN_3B, Train(lora=Lora(dropout=0)), 512, 24)
    assert not fits_without_recomputing(QWEN_3B, Train(quantize="4bit", batch_size=8), 512, 24)
    assert "evaluation, merge, export, ladder and upload come on top" in str(table.caption)


def test_the_real_run_is_checked_and_estimated(hub: RunningHub, tmp_path: Path) -> None:
    shown = dry_run(hub, tmp_path / "home", "--namespace", "demo", "--run", str(tmp_path / "run"))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "learning_rate: 5.0e-05" in shown.stdout
    for words in (
        "Qwen/Qwen2.5-3B-Instruct: qwen2, 3.09 billion weights",
        "qwen-research: carried into every card",
        "allenai/ai2_arc: train 3,3",
        "damaged rows that will be skipped: 1",
        "the token may write to demo",
        "are over 512 tokens and will be dropped",
        "GB free, about 32.8 GB needed",
        "a10g-small (24 GB)",
        "assumed, not measured",
    ):
        assert words in shown.stdout, words
    assert "✗" not in shown.stdout
    assert not (tmp_path / "run").exists()


def test_every_problem_is_shown_at_once(hub: RunningHub, tmp_path: Path) -> None:
    words = ("--namespace", "demo", "--documents", "no/such", "--arc", "nobody/arc", "--run", str(tmp_path / "run"))
    shown = dry_run(hub, tmp_path / "home", *words, token=hub.read_token)
    assert shown.returncode == 2
    problems = [line for line in shown.stdout.splitlines() if "✗" in line]
    assert [line.split()[1] for line in problems] == ["documents", "Hub", "ARC", "rows"]
    assert "no/such: no documents there" in shown.stdout
    assert "nobody/arc" in shown.stdout
    assert "HF_TOKEN" in shown.stdout
    assert "Traceback" not in shown.stdout + shown.stderr


def test_a_run_that_would_fail_late_fails_before_its_first_step(hub: RunningHub, tmp_path: Path) -> None:
    env = {**os.environ, **hub.environment(tmp_path / "home")}
    command = [sys.executable, "-m", "jobs.pipeline", "--config", "jobs/configs/qwen2.5-3b.yaml"]
    command += ["--set", "base.model=allenai/nothing", "--run", str(tmp_path / "run")]
    shown = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert shown.returncode == 2
    assert "allenai/nothing" in shown.stderr
    assert not (tmp_path / "run").exists()


def preflight(run: Path, **evaluation: Any) -> Preflight:
    values = {f"evaluation.{key}": value for key, value in evaluation.items()}
    return Preflight(load_config(CONFIGS / "tiny.yaml", values=values), run)


def test_settings_of_the_evaluation_are_looked_at_before_the_training(tmp_path: Path) -> None:
    looked = preflight(tmp_path, shots=5)
    looked.own_questions = [("train", make_question(random.Random(1), number, "research")) for number in range(5)]
    assert looked.evaluation() == "research, arc_challenge, arc_easy by cloze, letter, 5 solved examples"
    looked.own_questions = [("test", make_question(random.Random(1), number, "research")) for number in range(5)]
    with pytest.raises(UserError, match=r"evaluation.shots: 5, but only 0 training questions"):
        looked.evaluation()
    with pytest.raises(UserError, match=r"exam\.jsonl"):
        preflight(tmp_path, tasks=["research", str(tmp_path / "exam.jsonl")]).evaluation()
    with pytest.raises(UserError, match=r"evaluation\.rotations: options are rotated by letter; add it to"):
        preflight(tmp_path, rotations=5, formulations=["cloze"]).evaluation()
    assert preflight(tmp_path, tasks=["research", "arc_easy"]).evaluation() == "research, arc_easy by cloze, letter"


def test_what_a_space_needs_is_looked_at_and_made_before_the_first_paid_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"publish.namespace": "demo", "publish.space": True}
    config = load_config(CONFIGS / "tiny.yaml", values=asked)
    assert next(folder for _, folder, _ in steps(config, tmp_path)) == "wheel"
    looked = Preflight(config, tmp_path)
    monkeypatch.setattr(hub_module, "check_ours", lambda *_: None)
    assert looked.space() == "demo/footnote-tiny will serve what is published; its wheel can be built here"
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.38"))
    with pytest.raises(UserError, match=r"Debian 12, this is glibc 2\.38; .*set publish\.space to false"):
        looked.space()
    monkeypatch.setattr(space_files, "ROOT", tmp_path)  # as in a job, which has folders of the checkout alone
    with pytest.raises(UserError, match=r"app\.py: not there; deploy the Space from a whole checkout"):
        looked.space()


def test_questions_with_sources_and_a_judge_need_open_questions(tmp_path: Path) -> None:
    draw = random.Random(1)
    choice, free = (make_question(draw, number, "research", free=bool(number)) for number in range(2))
    for settings in ({"sources": 3}, {"judge.endpoint": "http://127.0.0.1:9/v1", "judge.model": "m"}):
        key = next(iter(settings)).split(".")[0]
        said = rf"evaluation\.{key}: no open test question of research; ask it, or of more documents$"
        with pytest.raises(UserError, match=said):
            preflight(tmp_path, tasks=["arc_easy"], **settings).evaluation()
        looked = preflight(tmp_path, **settings)
        looked.own_questions = [("test", choice), ("train", free)]
        with pytest.raises(UserError, match=said):
            looked.evaluation()
    looked = preflight(tmp_path, sources=3)
    looked.own_questions = [("test", choice), ("test", free)]
    assert looked.evaluation().startswith("research, arc_challenge")
    assert preflight(tmp_path, sources=3).evaluation() == looked.evaluation()  # the sample's own questions


def test_the_judge_is_asked_before_the_training(tmp_path: Path) -> None:
    with running_chat_server() as server:
        looked = preflight(tmp_path, **{"judge.endpoint": server.address, "judge.model": "judge-1"})
        looked.own_questions = [("test", make_question(random.Random(1), 1, "research", free=True))]
        looked.evaluation()
        assert [request["model"] for request in server.requests] == ["judge-1"]
        server.statuses = [404]
        with pytest.raises(UserError, match=r"has no model 'judge-1'; check evaluation\.judge\.model"):
            looked.evaluation()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"export.types": ["q4_k_m"]}, r"ladder\.types: measured against F16; add f16 to export\.types"),
        ({"export.types": ["bf16", "f16"]}, "f16 and bf16 cannot lie together"),
        ({"export.types": ["f16", "f16"]}, "named twice"),
        ({"publish.name": "my-imatrix-model"}, r"'imatrix' in its name for no model"),
        ({"publish.name": "my-Q8_0-model"}, "holds the type Q8_0"),
    ],
)
def test_types_and_names_that_would_be_served_wrongly_are_refused_early(
    tmp_path: Path, values: dict[str, Any], words: str
) -> None:
    looked = Preflight(load_config(CONFIGS / "tiny.yaml", values=values), tmp_path)
    with pytest.raises(UserError, match=words):
        looked.export()
    plain = load_config(CONFIGS / "tiny.yaml", values={"ladder.types": [], "export.types": ["q4_k_m"]})
    assert Preflight(plain, tmp_path).export() == "q4_k_m, of which footnote-tiny-Q4_K_M.gguf is served; ladder of none"


def test_of_several_types_one_is_served_by_one_rule(tmp_path: Path) -> None:
    def served(*types: str) -> str:
        values = {"export.types": list(types), "ladder.types": []}
        config = load_config(CONFIGS / "tiny.yaml", values=values)
        assert file_name(config.publish.name, config.export.served) in Preflight(config, tmp_path).export()
        return config.export.served

    assert served("f16", "q6_k", "q4_k_m") == "q4_k_m"
    assert served("q8_0") == "q8_0"
    with pytest.raises(UserError, match=r"export\.types: expected one Q4_K_M file, .*; add q4_k_m, which is served"):
        served("f16", "q8_0")
    mixed = load_config(CONFIGS / "tiny.yaml", values={"export.types": ["f32", "q4_k_m"]})
    assert Preflight(mixed, tmp_path).export().startswith("f32, q4_k_m, of which footnote-tiny-Q4_K_M.gguf is served")


def test_the_room_for_a_run_grows_with_its_types() -> None:
    assert disk_bytes(10**9, Export(types=("q4_k_m",))) == pytest.approx(1.1 * (4 + 2 + 2 + 2 * 6.6 / 8) * 1e9)
    more = disk_bytes(10**9, Export(types=("f16", "q4_k_m", "q8_0"))) - disk_bytes(10**9, Export())
    assert more == pytest.approx(1.1 * 8.5 / 8 * 1e9)
