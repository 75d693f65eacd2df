"""The cards as they were rendered for a published run, parsed back: nothing is in them that is not in the figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard
from markdown_it import MarkdownIt

from jobs.card_facts import Run
from jobs.card_render import ROOT, cell, code, command, without_paths
from jobs.cards import render_cards
from jobs.gguf_ladder.table import ladder_table
from jobs.step import file_sha256, read_step
from local_hub.testing import running_hub
from qa.artifacts import Repositories
from qa.prompts import SYSTEM_PROMPT
from space.settings import VARIABLES
from tests.card_reading import front_matter, table_headed, tables
from tests.publishing import publish, seed_qwen
from tests.runs import ARC, EVALUATED, HOSTILE, NAME, NAMESPACE, QWEN, REVISION, copy_run, qwen_run, rewrite

MODEL_KINDS = ("base", "adapter", "merged", "base_gguf", "gguf")
CITED = {
    "exact_match": 0.5, "token_f1": 0.6, "citation_precision": 0.7, "citation_recall": 0.4, "refused": 0.1, "n": 8,
    "abstained": None, "n_withheld": 0,
}  # fmt: skip
SHARE = re.compile(r"([\d.]+) % \(([\d.]+) % to ([\d.]+) %\)")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two published runs: one with a base of its own, one on Qwen2.5-3B-Instruct and ARC."""
    folder = tmp_path_factory.mktemp("cards")
    found = {"tiny": copy_run(folder), "qwen": qwen_run(folder / "qwen")}
    rewrite(found["tiny"] / "evaluation" / "metrics.json", cited={"gguf": CITED})
    with running_hub(folder / "hub") as hub:
        seed_qwen(hub, folder / "seed")
        for name, run in found.items():
            done = publish(hub, run, folder / "home", *(["--name", "qwen"] if name == "qwen" else []))
            assert done.returncode == 0, done.stderr
    return found


def card(run: Path, kind: str) -> str:
    return (run / "cards" / kind / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_every_number_of_the_result_table_is_the_figure(runs: dict[str, Path], kind: str) -> None:
    metrics = json.loads((runs["tiny"] / "evaluation" / "metrics.json").read_text())
    figures = {
        (model, r["task"], r["formulation"], r["metric"]): r
        for model, summary in metrics["models"].items()
        for r in summary["results"]
    }
    header, *rows = table_headed(card(runs["tiny"], kind), "task")
    assert header[4:] == ["base", "adapter", "merged", "gguf, Q4_K_M"]
    headline = metrics["headline"]
    assert rows[0][:3] == [headline["task"], headline["formulation"], headline["metric"]]
    seen = 0
    for task, formulation, metric, n, *cells in rows:
        for model, shown in zip(EVALUATED, cells, strict=True):
            figure = figures[model, task, formulation, metric]
            value, low, high = (float(number) for number in SHARE.fullmatch(shown).groups())
            assert (value, low, high) == tuple(round(100 * figure[key], 1) for key in ("value", "low", "high"))
            assert int(n) == figure["n"]
            seen += 1
    assert seen == len(figures)


def test_open_answers_verdicts_and_warnings_are_the_figures(runs: dict[str, Path]) -> None:
    metrics = json.loads((runs["tiny"] / "evaluation" / "metrics.json").read_text())
    text = card(runs["tiny"], "adapter")
    _, *rows = table_headed(text, "model")
    assert [row[0].split(",")[0] for row in rows] == list(EVALUATED)
    for (_, *shown), model in zip(rows, EVALUATED, strict=True):
        scores = metrics["open"][model]
        shares = [f"{100 * scores[key]:.1f} %" for key in ("exact_match", "token_f1", "rouge_l")]
        assert shown == [*shares, str(scores["n"])]
    for comparison in metrics["comparisons"]:
        assert f"{comparison['model']} against base" in text
        assert f"{comparison['verdict']}; Holm's p = 0.330\n" in text
    assert "there are\n3 of them:" in text
    assert metrics["warnings"][0] in text
    assert "Left out of arc\\_easy, damaged: 1 (arc\\_easy/9: row '9': an option is &lt;empty&gt;)." in text
    assert "Not asked of gguf: 1 (q1: long)." in text


def test_the_calibration_is_the_figures(runs: dict[str, Path]) -> None:
    _, *rows = table_headed(card(runs["tiny"], "merged"), "calibration")
    assert [row[0].split(",")[0] for row in rows] == list(EVALUATED)
    assert rows[1][1:] == ["research", "letter (chat)", "0.020 (0.010 to 0.040)", "0.250", "24"]


def test_passages_cited_are_in_a_table_where_they_were_asked_for(runs: dict[str, Path]) -> None:
    table = next(table for table in tables(card(runs["tiny"], "merged")) if "citation recall" in table[0])
    assert table[1:] == [["gguf, Q4_K_M", "50.0 %", "70.0 %", "40.0 %", "10.0 %", "8", "–", "0"]]
    assert "citation recall" not in card(runs["qwen"], "merged")


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_pictures_are_shown_where_they_are_published(runs: dict[str, Path], kind: str) -> None:
    shown = re.findall(r"^!\[[^\]]+\]\((\S+)\)$", card(runs["tiny"], kind), re.MULTILINE)
    names = [f"evaluation/{name}.png" for name in ("accuracy", "flips", "reliability")]
    names += ["ladder/ladder.png"] * (kind == "gguf")
    assert shown == ([] if kind.startswith("base") else names)


@pytest.mark.parametrize("kind", ["adapter", "merged", "gguf"])
def test_the_model_index_holds_the_figures_unrounded(runs: dict[str, Path], kind: str) -> None:
    metrics = json.loads((runs["tiny"] / "evaluation" / "metrics.json").read_text())
    results: list[EvalResult] = ModelCard(card(runs["tiny"], kind)).data.eval_results
    choice = [result for result in results if result.metric_type == "accuracy"]
    expected = metrics["models"][kind]["results"]
    assert sorted(result.metric_value for result in choice) == sorted(figure["value"] for figure in expected)
    for result in choice:
        task, formulation, metric = result.metric_name.split(", ")
        figure = next(f for f in expected if (f["task"], f["formulation"], f["metric"]) == (task, formulation, metric))
        assert result.metric_value == figure["value"]
        assert result.metric_args == {key: figure[key] for key in ("n", "low", "high")}
    asked = next(result for result in choice if result.metric_name.startswith("research"))
    assert (asked.dataset_type, asked.dataset_config) == (f"{NAMESPACE}/{NAME}-qa", "research_qa")
    file = "research_qa/test.parquet"
    assert asked.dataset_args == {"file": file, "sha256": file_sha256(runs["tiny"] / "dataset" / file)}
    (calibration,) = (result for result in results if result.metric_type == "ece")
    assert calibration.metric_name == "research, letter (chat), ECE"
    assert calibration.metric_value == metrics["calibration"][kind][0]["ece"]
    opened = {r.metric_name: r.metric_value for r in results if r.task_type == "question-answering"}
    scores = metrics["open"][kind]
    names = (("exact match", "exact_match"), ("token F1", "token_f1"), ("ROUGE-L", "rouge_l"))
    assert opened == {f"research, open (chat), {name}": scores[key] for name, key in names}


def test_the_front_matter_names_base_relation_data_and_licence(runs: dict[str, Path]) -> None:
    names = {"adapter": "lora", "merged": "merged", "gguf": "GGUF", "base": "base", "base_gguf": "base-GGUF"}
    relations = {
        "adapter": ("adapter", f"{NAMESPACE}/{NAME}-base", "peft"),
        "merged": ("merge", f"{NAMESPACE}/{NAME}-base", "transformers"),
        "gguf": ("quantized", f"{NAMESPACE}/{NAME}-merged", "gguf"),
        "base_gguf": ("quantized", f"{NAMESPACE}/{NAME}-base", "gguf"),
        "base": (None, None, "transformers"),
    }
    for kind, (relation, base, library) in relations.items():
        data = front_matter(card(runs["tiny"], kind))
        assert (data.get("base_model_relation"), data.get("base_model")) == (relation, base)
        assert data["library_name"] == library
        assert data["pipeline_tag"] == "text-generation"
        assert data["license"] == "cc-by-4.0"  # of the passages that the base was trained on
        assert data.get("datasets") == (None if kind.startswith("base") else [f"{NAMESPACE}/{NAME}-qa"])
        assert f"# {NAME}-{names[kind]}\n" in card(runs["tiny"], kind)


def test_the_licence_of_qwen_is_inherited(runs: dict[str, Path]) -> None:
    for kind in ("adapter", "merged", "gguf", "base_gguf"):
        text = card(runs["qwen"], kind)
        data = front_matter(text)
        assert (data["license"], data["license_name"]) == ("other", "qwen-research")
        assert data["license_link"] == f"https://huggingface.co/{QWEN}/blob/main/LICENSE"
        assert "**Improved using Qwen.**" in text
        assert "Improved using Qwen" not in card(runs["tiny"], kind)
    index = ModelCard(card(runs["qwen"], "merged")).data.eval_results
    asked = ("dataset_type", "dataset_config", "dataset_split", "dataset_revision")
    found = {tuple(getattr(r, key) for key in asked) for r in index if r.metric_name.startswith("arc_easy")}
    assert found == {(ARC, "ARC-Easy", "test", REVISION)}
    assert front_matter(card(runs["qwen"], "adapter"))["datasets"] == [f"{NAMESPACE}/qwen-qa", ARC]
    assert not (runs["qwen"] / "cards" / "base").exists()


def test_the_data_set_card_counts_rows_and_licences(runs: dict[str, Path]) -> None:
    text = card(runs["qwen"], "dataset")
    data = front_matter(text)
    assert data["license"] == ["cc-by-4.0", "cc-by-sa-4.0", "mit"]
    assert [config["config_name"] for config in data["configs"]] == ["research_qa", "arc"]
    assert data["configs"][0]["data_files"][2] == {"split": "test", "path": "research_qa/test.parquet"}
    _, *rows = table_headed(text, "config")
    assert rows[0] == ["research_qa", "train", "40", "20", "20", "10", "10"]
    assert rows[2] == ["research_qa", "test", "18", "10", "8", "5", "5"]
    assert rows[3] == ["arc", "train", "6", "6", "0", "3", "–"]
    licences = next(table for table in tables(text) if table[0][1] == "licence")
    assert licences[1:] == [
        ["research_qa", "CC-BY-4.0", "65", "17"],
        ["research_qa", "MIT", "1", "1"],
        ["arc", "CC-BY-SA-4.0", "18", "–"],
    ]
    assert len(front_matter(card(runs["tiny"], "dataset"))["configs"]) == 1
    assert "arXiv:1803.05457" in text  # the citation that ARC's card asks for
    for words in (ARC, "1803.05457"):
        assert words not in card(runs["tiny"], "dataset")


def test_what_a_document_wrote_stands_in_the_card_as_it_was_written(runs: dict[str, Path]) -> None:
    text = card(runs["tiny"], "dataset")
    header, *rows = table_headed(text, "question")
    assert len(rows) == 10
    assert {len(row) for row in rows} == {len(header)}
    written = " ".join(HOSTILE.split())
    assert [row[0] for row in rows].count(written) == 1
    assert next(row for row in rows if row[0] == written)[3] == written
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert "<img" not in rendered
    assert "javascript:" not in "".join(re.findall(r'href="([^"]*)"', rendered))
    assert yaml.safe_load(text.split("---\n")[1])["pretty_name"] == f"{NAME}-qa"


@pytest.mark.parametrize("text", [HOSTILE, "a``b", "`", "$x_1$ and ~~y~~ \\| \\", "https://a.org/a_b_c", "# 1. x"])
def test_escaped_text_reads_back_in_a_table(text: str) -> None:
    markdown = f"| a | b |\n|---|---|\n| x{cell(text)} | {code('c' + text)} |\n"
    [[_, [plain, spanned]]] = tables(markdown)
    assert plain.replace("\u200b", "") == "x" + " ".join(text.split())
    assert spanned == "c" + " ".join(text.split())


@pytest.mark.parametrize("kind", ["adapter", "merged", "gguf", "dataset"])
def test_the_commands_and_settings_that_made_it_are_in_the_card(runs: dict[str, Path], kind: str) -> None:
    text = card(runs["tiny"], kind)
    until = ["passages", "questions", "dataset", "base", "adapter", "merged", "gguf"]
    for step in until[: until.index(kind) + 1]:
        if step != "base" or kind != "dataset":
            assert command(read_step(runs["tiny"] / step).command) in text
    settings = dict(table_headed(text, "setting")[1:])
    if kind != "dataset":
        assert settings["settings.learning_rate"] == "5e-05"
        assert settings["settings.lora.r"] == "4"
        assert settings["base"] == f"{NAMESPACE}/{NAME}-base"
    assert str(Path.cwd()) not in text
    assert not re.search(r"(?<![\w.:/…])/(tmp|home|root|work)/", text)


def test_running_it_is_told_with_the_real_names(runs: dict[str, Path]) -> None:
    text, repository = card(runs["tiny"], "gguf"), f"{NAMESPACE}/{NAME}-GGUF"
    assert f"ollama run hf.co/{repository}:Q4_K_M\n" in text
    assert f"llama-server -hf {repository}:Q4_K_M\n" in text
    assert f'Llama.from_pretrained("{repository}", filename="{NAME}-Q4_K_M.gguf"' in text
    assert json.dumps(SYSTEM_PROMPT) in text
    outputs = read_step(runs["tiny"] / "gguf").outputs
    _, *files = table_headed(text, "file")
    assert files == [
        [name, name.removesuffix(".gguf").rpartition("-")[2].upper(), str(entry["bytes"]), entry["sha256"]]
        for name, entry in sorted(outputs.items())
        if "imatrix" not in name
    ]
    assert f"hf download {NAMESPACE}/{NAME}-lora {NAME}-lora.gguf --local-dir ." in card(runs["tiny"], "adapter")
    assert f"llama-server -hf {NAMESPACE}/{NAME}-base-GGUF --lora {NAME}-lora.gguf" in card(runs["tiny"], "adapter")


def test_the_card_of_the_space_pins_what_was_published(runs: dict[str, Path]) -> None:
    text = card(runs["tiny"], "space")
    data = front_matter(text)
    assert (data["sdk"], data["python_version"], data["app_file"]) == ("gradio", "3.12", "app.py")
    assert f"gradio=={data['sdk_version']}\n" in (Path(__file__).parents[1] / "requirements.txt").read_text()
    assert data["license"] == "apache-2.0"
    header = front_matter((ROOT / "README.md").read_text(encoding="utf-8"))
    for key in ("emoji", "colorFrom", "colorTo", "short_description", "sdk_version", "python_version"):
        assert data[key] == header[key]
    assert len(data["short_description"]) <= 60
    assert data["models"] == [f"{NAMESPACE}/{NAME}-GGUF", f"{NAMESPACE}/{NAME}-base-GGUF"]
    published = json.loads((runs["tiny"] / "cards" / "published.json").read_text())
    variables = dict(table_headed(text, "variable")[1:])
    assert variables == {
        "FOOTNOTE_MODEL": f"{NAMESPACE}/{NAME}-GGUF",
        "FOOTNOTE_MODEL_REVISION": published["gguf"]["revision"],
        "FOOTNOTE_BASE": f"{NAMESPACE}/{NAME}-base-GGUF",
        "FOOTNOTE_BASE_REVISION": published["base_gguf"]["revision"],
        "FOOTNOTE_DATA": f"{NAMESPACE}/{NAME}-qa",
        "FOOTNOTE_DATA_REVISION": published["dataset"]["revision"],
        "FOOTNOTE_INDEX": f"{NAMESPACE}/{NAME}-index",
        "FOOTNOTE_INDEX_REVISION": published["index"]["revision"],
    }
    optional = {name: default for name, default, _ in table_headed(text, "optional variable")[1:]}
    assert variables.keys() | optional.keys() == {variable.name for variable in VARIABLES}
    assert optional == {variable.name: variable.default for variable in VARIABLES if variable.name in optional}
    assert data["datasets"] == [f"{NAMESPACE}/{NAME}-qa", f"{NAMESPACE}/{NAME}-index"]


def test_the_base_of_qwen_as_gguf_names_its_model_and_its_licence(runs: dict[str, Path]) -> None:
    text = card(runs["qwen"], "base_gguf")
    data = front_matter(text)
    assert (data["base_model"], data["base_model_relation"]) == (QWEN, "quantized")
    assert (data["license_name"], data.get("datasets")) == ("qwen-research", None)
    assert f"[{QWEN}](https://huggingface.co/{QWEN}) as GGUF files" in text
    assert command(read_step(runs["qwen"] / "base_gguf").command) in text
    assert "python -m jobs.pretrain" not in text
    assert "# qwen-base-GGUF\n" in text


def test_a_base_of_its_own_is_said_to_have_read_the_documents(runs: dict[str, Path]) -> None:
    words = "(their facts in many wordings): only the questions are held out."
    for kind in MODEL_KINDS:
        assert words in card(runs["tiny"], kind)
        assert kind == "base" or "held out" not in card(runs["qwen"], kind)


def test_the_card_says_what_was_verified(runs: dict[str, Path]) -> None:
    figures = read_step(runs["tiny"] / "cards").figures["verified"]
    text = card(runs["tiny"], "gguf")
    assert f"In the whole evaluation `{NAME}-Q4_K_M.gguf` reads all 24 prompts as the same token ids" in text
    assert cell(figures["sentence"]) in text
    for kind in ("gguf", "base_gguf"):
        for verdict in read_step(runs["tiny"] / kind).figures["verified"].values():
            assert f"- {cell(verdict['sentence'])}\n" in card(runs["tiny"], kind)
    lora = read_step(runs["tiny"] / "adapter_gguf").figures["verified"]
    assert f"Verified: {cell(lora['sentence'])}\n" in card(runs["tiny"], "adapter")
    matrix = read_step(runs["tiny"] / "gguf").figures["imatrix"]
    assert f"an importance matrix of {matrix['tokens']} tokens of the training split (`{NAME}-imatrix.gguf`" in text


def test_the_ladder_is_in_the_card(runs: dict[str, Path]) -> None:
    ladder = json.loads((runs["tiny"] / "ladder" / "ladder.json").read_text())
    shown = ladder_table(ladder)
    header, *rows = table_headed(card(runs["tiny"], "gguf"), "type")
    assert header == list(shown.headers)
    assert rows == [[row[name] for name in header] for row in shown.rows]
    assert [row[:2] for row in rows] == [["F16", "–"], ["Q4_K_M", "no"], ["Q4_K_M", "yes"]]
    for note in shown.notes:
        assert cell(note) in card(runs["tiny"], "gguf")
    assert "What each type keeps" not in card(runs["tiny"], "base_gguf")


def test_where_the_writer_stands_is_not_told(runs: dict[str, Path]) -> None:
    text = card(runs["tiny"], "dataset")
    settings = dict(table_headed(text, "setting")[1:])
    assert settings == {"writer.kind": "openai", "writer.model": "teacher"}
    assert "python -m jobs.collect --config tiny.yaml --set writer.endpoint=…\n" in text
    assert "gpu.example.org" not in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("python -m x --endpoint http://me:pa,ss]w@host:1/v1 --out a/b", "python -m x --endpoint … --out a/b"),
        (
            "python -m x --set 'writer={kind: openai, endpoint: http://h/v1}'",
            "python -m x --set 'writer={kind: openai, endpoint: …'",
        ),
        ("python -m x --documents '/home/jane doe/my papers' /srv/a", "python -m x --documents '…/my papers' …/a"),
        ("python -m x --from file:///home/jane/a", "python -m x --from …"),
        (
            "python -m x --set train.epochs=1 --set train.checkpoints_to=me/a --out b",
            "python -m x --set train.epochs=1 --out b",
        ),
        ("python -m x --set=train.trackio_space=me/curves --out b", "python -m x --out b"),
        (f"python {Path.cwd()}/scripts/demo.py 'a b'", "python scripts/demo.py 'a b'"),
    ],
)
def test_commands_tell_neither_addresses_nor_folders(given: str, shown: str) -> None:
    assert command(given) == shown


def test_paths_of_this_machine_are_cut() -> None:
    text = f"python -m jobs.train {Path.cwd()}/runs/tiny --base=/home/somebody/models/qwen --from https://a.org/b/c a/b"
    shown = "python -m jobs.train runs/tiny --base=…/qwen --from https://a.org/b/c a/b"
    assert without_paths(text) == shown


def test_figures_of_a_draw_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.licences._hub_knows", lambda licences: True)  # it asks the Hub
    run = copy_run(tmp_path)
    drawn = "Of each task at most 40 multiple-choice and 40 open questions were drawn, with seed 17"
    for limit, told in ((None, False), (40, True)):
        rewrite(run / "evaluation" / "step.json", arguments={"limit": limit, "seed": 17})
        text = render_cards(Run.read(run, Repositories(NAMESPACE, NAME)))["merged"]
        assert (drawn in text) == told
        (index,) = front_matter(text)["model-index"]
        args = {key for result in index["results"] for key in result["dataset"].get("args", {})}
        assert ({"limit", "seed"} <= args) == told
