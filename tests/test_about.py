"""What the page says of its model: the figures of the run, no better than they are, and safe to show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from jobs.about import about_text
from jobs.card_facts import Run
from jobs.licences import Licence
from jobs.step import read_step
from qa.artifacts import Repositories
from qa.headline import headline_lines
from tests.card_reading import table_headed
from tests.runs import HOSTILE, NAME, NAMESPACE, QWEN, copy_run, qwen_run, rewrite, tiny_run

SHARE = "{:.1f} %".format


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.licences._hub_knows", lambda licence: True)
    link = "https://example.org/LICENSE"
    given = Licence("other", "qwen-research", link, {"LICENSE": b"text"})
    monkeypatch.setattr("jobs.card_facts.base_licence", lambda repository, revision: given)


def about(run: Path) -> str:
    return about_text(Run.read(run, Repositories(NAMESPACE, NAME)))


def metrics_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))


def links(text: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"]*)"', MarkdownIt("gfm-like", {"linkify": False}).render(text))


def test_the_table_is_the_headline_with_its_verdicts() -> None:
    metrics = metrics_of(tiny_run())
    _, *rows = table_headed(about(tiny_run()), "model", "right")
    names = {"gguf": "gguf, Q4_K_M, served here"}
    verdicts = {line["model"]: line["verdict"] for line in metrics["comparisons"]}
    assert rows == [
        [
            names.get(line.model, line.model), f"{line.correct} of {line.n}", SHARE(100 * line.value),
            f"{SHARE(100 * line.low)} to {SHARE(100 * line.high)}", verdicts.get(line.model, "–"),
        ]
        for line in headline_lines(metrics)
    ]  # fmt: skip
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("verdict", "p_holm", "said"),
    [
        ("no difference shown (12.5 points)", 0.33, "was not shown to answer these questions better than its base"),
        ("better by 16.5 points (…)", 0.01, "answers these questions better than its base"),
        ("worse by 16.5 points (…)", 0.01, "answers these questions worse than its base"),
        ("better by 16.5 points (…)", 0.2, "answered these questions better than its base, which does not hold among"),
    ],
)
def test_not_better_is_said_as_not_better(tmp_path: Path, verdict: str, p_holm: float, said: str) -> None:
    run = copy_run(tmp_path)
    lines = metrics_of(run)["comparisons"]
    changed = [line | {"verdict": verdict, "p_holm": p_holm} if line["model"] == "gguf" else line for line in lines]
    rewrite(run / "evaluation" / "metrics.json", comparisons=changed)
    text = about(run)
    assert f"The file here **{said}" in text
    assert ("Holm's p = 0.200: one of 3 comparisons" in text) == (p_holm == 0.2)


def test_without_a_comparison_nothing_is_claimed(tmp_path: Path) -> None:
    run = copy_run(tmp_path)
    rewrite(run / "evaluation" / "metrics.json", comparisons=[])
    assert "The file here **" not in about(run)
    assert [row[-1] for row in table_headed(about(run), "model", "right")[1:]] == ["–"] * 4


def test_other_questions_and_warnings_are_told_and_bounded(tmp_path: Path) -> None:
    run = copy_run(tmp_path)
    metrics = metrics_of(run)
    other = {**metrics["comparisons"][-1], "task": "mmlu:x", "n": 7, "verdict": "worse by 9.0 points (…)"}
    others = [{**other, "task": f"mmlu:{number}"} for number in range(30)]
    warnings = [f"sign {number}" for number in range(12)]
    rewrite(run / "evaluation" / "metrics.json", comparisons=metrics["comparisons"] + others, warnings=warnings)
    text = about(run)
    told = "worse by 9.0 points (…) (Holm's p = 0.330: one of 33 comparisons)"
    assert f"- mmlu:0, letter (chat), acc (n = 7): {told}\n" in text
    assert "mmlu:19," in text
    assert "mmlu:20," not in text
    assert "- and 10 more, in the card of" in text
    assert [f"- sign {number}\n" in text for number in range(12)] == [True] * 5 + [False] * 7
    assert "- and 7 more, in the card." in text
    assert len(text.encode()) < 12_000


def test_it_has_its_sections_and_no_front_matter_pictures_or_paths() -> None:
    text = about(tiny_run())
    sections = ["What it is", "Results", "Limits", "Licence", "How it was made", "Run it elsewhere"]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == sections
    assert text.startswith("## What it is\n")
    assert "![" not in text
    assert 2_000 < len(text.encode()) < 12_000
    assert all(link.startswith("https://") for link in links(text))
    assert len(links(text)) > 5
    assert not re.search(r"(?<![\w.:/…])/(tmp|home|root|work)/", text)


def test_how_it_was_made_is_the_records() -> None:
    text, run = about(tiny_run()), tiny_run()
    seconds = dict(table_headed(text, "step", "seconds")[1:])
    assert list(seconds) == ["passages", "questions", "dataset", "base", "adapter", "merged", "gguf", "evaluation"]
    assert seconds["gguf"] == f"{read_step(run / 'gguf').seconds:.1f}"
    recipe = dict(table_headed(text, "setting")[1:])
    assert (recipe["learning_rate"], recipe["lora.r"], recipe["seed"]) == ("5e-05", "4", "17")
    assert f"of commit `{read_step(run / 'adapter').git_commit}`" in text
    assert f"{read_step(run / 'adapter').hardware['cores']} cores" in text
    assert "17 documents gave 66 questions" in text


def test_running_it_elsewhere_is_told_with_the_true_names() -> None:
    text, name = about(tiny_run()), f"{NAMESPACE}/{NAME}"
    assert f"ollama run hf.co/{name}-GGUF:Q4_K_M\n" in text
    assert f"llama-server -hf {name}-GGUF:Q4_K_M\n" in text
    assert f'Llama.from_pretrained("{name}-GGUF", filename="{NAME}-Q4_K_M.gguf"' in text
    assert f'AutoModelForCausalLM.from_pretrained("{name}-merged")' in text
    assert f'AutoPeftModelForCausalLM.from_pretrained("{name}-lora")' in text
    assert f"`{NAME}-Q4_K_M.gguf`, {(tiny_run() / 'gguf' / f'{NAME}-Q4_K_M.gguf').stat().st_size / 1e6:.1f} MB" in text
    for snippet in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(snippet, "about.md", "exec")


def test_the_licence_of_the_base_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = qwen_run(tmp_path)
    text = about(run)
    assert "**Improved using Qwen.**" in text
    assert (
        f"the licence of [{QWEN}](https://huggingface.co/{QWEN}), `qwen-research` ([its text](https://example" in text
    )
    monkeypatch.setattr("jobs.card_facts.base_licence", lambda *_: Licence("other", "own", "file:///etc/passwd"))
    assert "/etc/passwd" not in about(run)


def test_what_others_wrote_stays_text(tmp_path: Path) -> None:
    run = copy_run(tmp_path)
    metrics = metrics_of(run)
    others = [{**metrics["comparisons"][-1], "task": HOSTILE, "verdict": HOSTILE}]
    rewrite(
        run / "evaluation" / "metrics.json", comparisons=metrics["comparisons"] + others, warnings=[HOSTILE, "![x](y)"]
    )
    rendered = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(about(run))
    assert "<img" not in rendered
    assert not any("javascript:" in link for link in links(about(run)))
    assert "<h1>" not in rendered
