"""A finished run of tiny but real pieces, for the tests of cards, publishing and pulling. Not a test.

The base is `tests.tiny`'s random Qwen2, the adapter peft's, merged weights and GGUF files come from their own steps,
and the figures of the evaluation are counts with their true intervals.
"""

from __future__ import annotations

import functools
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from jobs.answer_examples import answer_examples
from jobs.build_index import build_index
from jobs.data_config import Documents
from jobs.documents import DocumentText
from jobs.errors import UserError
from jobs.evaluation.report import write_items
from jobs.lineage import MADE_FROM
from jobs.step import StepRecord, fingerprint, read_step, run_step, write_json
from qa.records import Answer, Passage, Question, write_records
from qa.statistics import wilson

ROOT = Path(__file__).parents[1]
NAMESPACE, NAME = "demo", "footnote-tiny"
QWEN, ARC, REVISION = "Qwen/Qwen2.5-3B-Instruct", "allenai/ai2_arc", "0" * 40
ENDPOINT = "http://teacher:open-sesame@gpu.example.org:8000/v1"  # of the writer: must stay here
HOSTILE = "Which | of <img src=x onerror=alert(1)> `these`\n---\n# is *not* [a](javascript:alert(1)) & <|im_end|>?"
EXAMPLES = ("What does LoRA train?", "Who introduced ResNet?")
EVALUATED = ("base", "adapter", "merged", "gguf")


def question(number: int, *, choices: bool = True, **changes: Any) -> Question:
    """One question of document `number // 2`."""
    values = {
        "id": f"q{number:03d}" + ("" if choices else "-open"),
        "question": f"What does method {number} rely on?",
        "answer_text": f"scaled product {number}",
        "kind": "component",
        "document": f"paper-{number // 2}.md",
        "passage": f"paper-{number // 2}.md#1",
        "evidence": f"Method {number} relies on scaled product {number}.",
        "source": "https://example.org/paper",
        "licence": "CC-BY-4.0",
    }
    if choices:
        texts = [f"scaled product {number}", "a lookup table", "a cosine schedule", "a graph cut"]
        place = number % 4  # else a model that always says A would seem to know
        texts[0], texts[place] = texts[place], texts[0]
        values |= {"labels": tuple("ABCD"), "choices": tuple(texts), "answer": "ABCD"[place]}
    return Question(**values | changes)


@functools.cache
def tiny_run() -> Path:
    """The run that trained its own base; made once a process, never to be changed: see `copy_run`."""
    run = Path(tempfile.mkdtemp(prefix="footnote-run-")) / "tiny"
    funnel = [{"filter": "evidence", "given": 40, "taken": 7, "left": 33}]
    collected = {"documents": 12, "passages": 24, "funnel": []}
    _step("collect", run / "passages", collected, Documents().model_dump(mode="json"), _write_passages)
    writer = {"kind": "openai", "model": "teacher", "endpoint": ENDPOINT}
    _step("write_questions", run / "questions", {"questions": 33, "funnel": funnel, "usage": {}}, {"writer": writer})
    _step("build_dataset", run / "dataset", {"dropped": 2, "arc": {}}, {"arc": "", "max_length": 512}, _write_dataset)
    shape = {"layers": 2, "width": 64, "facts": "facts.tsv", "wordings": "wordings.yaml"}
    _step("pretrain", run / "base", {"parameters": 123456}, {"shape": shape}, _write_base)
    settings = {"learning_rate": 5e-5, "batch_size": 4, "epochs": 3.0, "lora": {"r": 4, "alpha": 8}}
    arguments = {"base": str(run / "base"), "revision": "main", "settings": settings, "seed": 17}
    _step("train", run / "adapter", {"steps": 12}, arguments, lambda folder: _write_adapter(run / "base", folder))
    rewrite(run / "adapter" / "step.json", inputs={"base": fingerprint(run / "base")})
    _merge_and_export(run)
    build_index(run / "passages", run / "index")
    answer_examples(run / "gguf", run / "examples", questions=EXAMPLES)
    _step("evaluate", run / "evaluation", {"rows": 88}, {}, _write_evaluation)
    link(run)
    return run


def copy_run(folder: Path) -> Path:
    """A copy of the run that a test may spoil."""
    return Path(shutil.copytree(tiny_run(), folder / "tiny"))


def qwen_run(folder: Path) -> Path:
    """The same run as if it had fine-tuned Qwen2.5-3B-Instruct on ARC too (the weights stay tiny)."""
    run = copy_run(folder)
    shutil.rmtree(run / "base")
    rewrite(run / "adapter" / "adapter_config.json", base_model_name_or_path=QWEN)
    record = read_step(run / "adapter")
    record.inputs.pop("base")
    rewrite(run / "adapter" / "step.json", arguments=record.arguments | {"base": QWEN}, inputs=record.inputs)
    add_arc(run, ARC, revision=REVISION)
    public = {"dataset": ARC, "config": "ARC-Easy", "split": "test", "revision": REVISION}
    rewrite(run / "evaluation" / "metrics.json", benchmarks={"arc_easy": public}, left_out={}, skipped={})
    return run


def add_arc(run: Path, source: str, *, revision: str) -> None:
    """Rebuild the data set with questions of ARC from a repository, or from a folder (which has no revision)."""
    arc = [question(n, id=f"arc_easy/{n}", task="arc_easy", licence="cc-by-sa-4.0", source=source) for n in range(6)]
    origin = {"repository": source, "revision": revision, "licence": "cc-by-sa-4.0"}
    arguments = {"arc": source, "arc_configs": ["ARC-Challenge", "ARC-Easy"]}
    _step("build_dataset", run / "dataset", {"arc": origin}, arguments, lambda folder: _write_dataset(folder, arc=arc))
    link(run)


def link(run: Path) -> None:
    """Record of every step that it was made from what stands beside it now, as the loop leaves it."""
    for step, inputs in MADE_FROM.items():
        if (run / step).is_dir():
            made = {name: fingerprint(run / folder) for name, folder in inputs.items() if (run / folder).is_dir()}
            rewrite(run / step / "step.json", inputs=read_step(run / step).inputs | made)
    models = {model: run / model for model in EVALUATED if (run / model).is_dir()}
    models["gguf"] = run / "gguf" / f"{NAME}-Q4_K_M.gguf"
    evaluated = {"dataset": run / "dataset"} | models
    rewrite(run / "evaluation" / "step.json", inputs={name: fingerprint(path) for name, path in evaluated.items()})


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    import json

    write_json(path, json.loads(path.read_text(encoding="utf-8")) | changes)


def _step(name: str, out: Path, figures: dict[str, Any], arguments: Any = None, write: Any = None) -> StepRecord:
    def work(folder: Path) -> dict[str, Any]:
        if write:
            write(folder)
        return figures

    command = f"python -m jobs.{name} --config tiny.yaml --set writer.endpoint={ENDPOINT}"
    record, worked = run_step(name, out, arguments=arguments or {}, inputs={}, work=work, command=command)
    if not worked:
        raise UserError(f"{out}: was there already")
    return record


def _write_passages(folder: Path) -> None:
    texts = (f"Method {number} relies on scaled product {number}." for number in range(24))
    passages = [
        Passage(id=f"p{n}", document=f"paper-{n // 2}.md", title="", text=text, licence="CC-BY-4.0", start=0, end=9)
        for n, text in enumerate(texts)
    ]
    write_records(folder / "passages.jsonl", passages)
    documents = (f"paper-{number}.md" for number in range(12))
    read = [DocumentText(document=name, title=name, format="markdown", text="…") for name in documents]
    write_records(folder / "documents.jsonl", read)


def _write_dataset(folder: Path, arc: list[Question] | None = None) -> None:
    from tests.tiny_questions import write_parquet

    report = {"ngram": 8, "coverage": 0.5, "similarity": 0.6, "train_rows": 40}
    write_json(folder / "decontamination.json", report | {"tests": [], "dropped": [], "planted": []})
    sides = {"train": range(20), "validation": range(20, 24), "test": range(24, 36)}
    for split, numbers in sides.items():
        rows = [row for number in numbers for row in (question(number), question(number, choices=False))]
        if split == "test":
            rows = [*rows[:16], question(90, question=HOSTILE, evidence=HOSTILE, licence="MIT"), question(91)]
        write_parquet(folder / "research_qa" / f"{split}.parquet", rows)
        if arc is not None:
            write_parquet(folder / "arc" / f"{split}.parquet", arc)


def _write_base(folder: Path) -> None:
    import torch

    from tests.tiny import tiny_model

    tiny_model(folder).to(torch.bfloat16).save_pretrained(folder)
    (folder / "training_args.bin").write_bytes(b"\x80\x04a pickle that must stay here")


def _write_adapter(base: Path, folder: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    (folder / "optimizer.pt").write_bytes(b"\x80\x04a pickle that must stay here")


def _merge_and_export(run: Path) -> None:
    from jobs.export import Calibration, export
    from jobs.export_adapter import export_adapter
    from jobs.gguf_export.writer import Provenance
    from jobs.ladder import ladder as measure
    from jobs.merge import merge

    merge(str(run / "base"), run / "adapter", run / "merged")
    types, given = ("f16", "q4_k_m"), Calibration(run / "dataset", tokens=2000)
    export(run / "merged", run / "gguf", types=types, provenance=Provenance(NAME), calibration=given)
    base = Provenance(f"{NAME}-base")
    export(run / "base", run / "base_gguf", types=types, provenance=base, calibration=given)
    parts = {name: run / name for name in ("base", "base_gguf", "merged", "dataset")}
    export_adapter(run / "adapter", run / "adapter_gguf", provenance=Provenance(NAME), **parts)
    ladder = {"types": ("q4_k_m",), "tokens": 512, "questions": 8, "passages": run / "passages"}
    measure(run / "gguf", run / "dataset", run / "ladder", **ladder)


def _write_evaluation(folder: Path) -> None:
    drawn = random.Random(3)
    models = {model: {"results": [_result(drawn, *row) for row in ASKED]} for model in EVALUATED}
    comparisons = [
        {
            "model": model, "against": "base", "task": "research", "formulation": "letter (chat)", "metric": "acc",
            "difference": 0.125, "low": -0.02, "high": 0.27, "p": 0.11, "p_exact": 0.38, "p_holm": 0.33,
            "gained": 4, "lost": 1, "n": 24, "documents": 12, "detectable": 0.19,
            "verdict": f"no difference shown for {model}; this set can only show 19.0 points or more",
        }
        for model in EVALUATED[1:]
    ]  # fmt: skip
    write_json(
        folder / "metrics.json",
        {
            "schema": 2,
            "order": ["base", "adapter", "merged", "gguf"],
            "headline": {"task": "research", "formulation": "letter (chat)", "metric": "acc"},
            "models": models,
            "comparisons": comparisons,
            "open": {
                model: {"exact_match": 1 / 8, "token_f1": 0.3141, "rouge_l": 0.2718, "abstained": 0.5, "n": 8}
                for model in EVALUATED
            },
            "calibration": {model: [_calibration(model)] for model in EVALUATED},
            "left_out": {"arc_easy": [{"name": "arc_easy/9", "reason": "row '9': an option is <empty>"}]},
            "skipped": {
                "gguf": [{"task": "arc_easy", "formulation": "letter (chat)", "row_id": "q1", "reason": "long"}]
            },
            "benchmarks": {},
            "absent_tasks": [],
            "warnings": ["base: letter A is never given"],
        },
    )
    for model in EVALUATED:
        source = f"{NAME}-Q4_K_M.gguf" if model == "gguf" else model
        write_json(folder / f"{model}.json", {"model": model, "source": source})
    for picture in ("accuracy", "flips", "reliability"):
        (folder / f"{picture}.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    write_items(folder / "items.parquet", [answer(model, n, n < 18) for model in ("merged", "gguf") for n in range(24)])


def _calibration(model: str) -> dict[str, Any]:
    ece = 0.01 * (1 + EVALUATED.index(model))
    asked = {"task": "research", "formulation": "letter (chat)", "n": 24}
    return asked | {"ece": ece, "ece_low": ece / 2, "ece_high": 2 * ece, "brier": 0.25, "bins": []}


def answer(model: str, number: int, correct: bool, **changes: Any) -> Answer:
    """One answer to a multiple-choice question of four options, the first of which is right."""
    values = {
        "model": model, "task": "research", "formulation": "letter (chat)", "row_id": f"q{number:03d}",
        "document": f"paper-{number // 2}.md", "prompt_sha256": f"{number:064x}", "gold": "A",
        "option_logprobs": (-1.0, -2.0, -3.0, -4.0), "predicted": "A" if correct else "B", "correct": correct,
        "seconds": 0.1,
    }  # fmt: skip
    return Answer(**values | changes)


ASKED = (
    ("research", "cloze (chat)", "acc_norm", 24),
    ("research", "letter (chat)", "acc", 24),
    ("arc_easy", "letter (chat)", "acc", 100),
)


def _result(drawn: random.Random, task: str, formulation: str, metric: str, n: int) -> dict[str, Any]:
    correct = drawn.randrange(1, n)
    low, high = wilson(correct, n)
    counts = {"value": correct / n, "low": low, "high": high, "n": n, "correct": correct}
    return {"task": task, "formulation": formulation, "metric": metric, **counts}
