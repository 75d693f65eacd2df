"""What can be checked before the first paid minute, and what a run is likely to cost. Prints; changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from jobs.config import RunConfig
from jobs.errors import UserError

# Dense bf16 TFLOP/s from the makers' data sheets (T4: fp16) and hourly prices of Hugging Face Jobs, August 2026.
GPUS = {
    "t4-small (16 GB)": (65, 0.40),
    "l4x1 (24 GB)": (121, 0.80),
    "a10g-small (24 GB)": (125, 1.00),
    "a100-large (80 GB)": (312, 2.50),
    "h200 (141 GB)": (989, 5.00),
}
UTILISATION = 0.25  # of the sheet's rate, assumed: padded batches of 4 with recomputation keep a GPU far from busy
BACKWARD = 2.0  # passes beside the forward one: through activations, and recomputation under checkpointing
OTHER_TIME = 0.5  # evaluation, merge, export and upload as a share of training, assumed
TOKENS_PER_ROW = 90  # where the rows cannot be counted before they are written: ARC's mean with its options


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `problem` is empty where it is well."""

    what: str
    found: str
    problem: str = ""


def report(config: RunConfig, run: Path) -> int:
    """Print the effective configuration, every check and the estimate; returns the exit code (2: a check failed)."""
    console = Console()
    console.print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), highlight=False)
    checks = [_guard(what, look) for what, look in _checks(config, run)]
    table = Table(title="checks", title_justify="left", box=None, pad_edge=False)
    for column in ("", "what", "found"):
        table.add_column(column)
    for check in checks:
        table.add_row("[red]✗[/red]" if check.problem else "[green]✓[/green]", check.what, check.problem or check.found)
    console.print(table)
    rows = _rows_of(config)
    console.print(_estimate(config, rows) if not config.base.pretrain else "a tiny run on the processor: no GPU needed")
    return 2 if any(check.problem for check in checks) else 0


def _guard(what: str, look: Callable[[], str]) -> Check:
    try:
        return Check(what, look())
    except UserError as error:
        return Check(what, "", str(error))


def _checks(config: RunConfig, run: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "documents", lambda: _documents(config)
    yield "base model", lambda: _base(config)
    if not config.base.pretrain:
        yield "its licence", lambda: _licence(config)
        yield "rows that fit", lambda: _fitting(config)
    if config.dataset.arc:
        yield "ARC", lambda: _arc(config)
    yield "disk", lambda: _disk(config, run)
    yield "Hub", lambda: _hub(config)


def _documents(config: RunConfig) -> str:
    missing = [path for path in config.documents.paths if not Path(path).exists()]
    if missing or not config.documents.paths:
        what = missing[0] if missing else "documents.paths"
        raise UserError(f"{what}: no documents there; name some with --documents")
    paths = [Path(path) for path in config.documents.paths]
    files = sum(sum(1 for file in path.rglob("*") if file.is_file()) if path.is_dir() else 1 for path in paths)
    return f"{files:,} files in {', '.join(map(str, paths))}"


def _base(config: RunConfig) -> str:
    if config.base.pretrain:
        return "trained by the run itself"
    from jobs.train import check_base

    shape = check_base(config.base.model, config.base.revision)
    return f"{config.base.model}: {shape.model_type}, {parameters(shape) / 1e9:.2f} billion parameters"


def _licence(config: RunConfig) -> str:
    from jobs.licences import base_licence

    licence = base_licence(config.base.model)
    return f"{licence.words}: carried into every card made from it"


def _arc(config: RunConfig) -> str:
    from jobs.arc import load_arc

    rows, dropped, _ = load_arc(config.dataset.arc, config.dataset.arc_configs)
    counts = ", ".join(f"{split} {len(questions):,}" for split, questions in rows.items())
    return f"{config.dataset.arc}: {counts}; {len(dropped)} damaged rows will be skipped"


def _fitting(config: RunConfig) -> str:
    if not config.dataset.arc:
        return "counted when the questions are written"
    lengths = _arc_lengths(config)
    long = sum(length > config.dataset.max_length for length in lengths)
    limit = config.dataset.max_length
    return f"{long} of {len(lengths):,} training rows of ARC are over {limit} tokens and will be dropped"


def _disk(config: RunConfig, run: Path) -> str:
    folder = next(path for path in (run, *run.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    needed = 100e6 if config.base.pretrain else _bytes_needed(config)
    if free < needed:
        sizes = f"{free / 1e9:.1f} GB free, about {needed / 1e9:.1f} GB needed"
        raise UserError(f"{folder}: {sizes}; free some or name another folder with --run")
    return f"{free / 1e9:.1f} GB free, about {needed / 1e9:.1f} GB needed"


def _hub(config: RunConfig) -> str:
    from huggingface_hub import constants

    if not config.publish.namespace:
        return "nothing will be published: no namespace is set"
    from jobs.hub import check_rights

    check_rights(config.publish.namespace)
    return f"{constants.ENDPOINT}: the token may write to {config.publish.namespace}"


def parameters(shape: Any) -> int:
    """Number of weights of a Qwen2-like model, biases and norms left out (less than 0.1 %)."""
    head = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    attention = 2 * shape.hidden_size * head * (shape.num_attention_heads + shape.num_key_value_heads)
    block = attention + 3 * shape.hidden_size * shape.intermediate_size
    embeddings = shape.vocab_size * shape.hidden_size * (1 if shape.tie_word_embeddings else 2)
    return shape.num_hidden_layers * block + embeddings


def _bytes_needed(config: RunConfig) -> float:
    """Base, merged and F16 in 2 bytes a weight, Q4_K_M in 5 bits, and checkpoints."""
    from jobs.train import check_base

    return parameters(check_base(config.base.model, config.base.revision)) * (3 * 2 + 5 / 8) * 1.1


def _arc_lengths(config: RunConfig) -> list[int]:
    from jobs.arc import load_arc
    from jobs.build_dataset import load_encoder
    from jobs.rows import token_length

    rows, _, _ = load_arc(config.dataset.arc, config.dataset.arc_configs)
    encoder = load_encoder(config.base.model)
    return [token_length(question, encoder) for question in rows["train"]]


def _rows_of(config: RunConfig) -> tuple[int, float]:
    """Training rows that are known beforehand (ARC's), and their mean length in tokens."""
    try:
        lengths = _arc_lengths(config) if config.dataset.arc and not config.base.pretrain else []
    except UserError:
        lengths = []
    return len(lengths), sum(lengths) / len(lengths) if lengths else TOKENS_PER_ROW


def _estimate(config: RunConfig, rows: tuple[int, float]) -> Table | str:
    """Hours and cost per GPU: FLOPs of the known rows over the sheet's rate times the assumed utilisation."""
    from jobs.train import check_base

    count, length = rows
    if not count:
        return "no estimate: the training rows are not known before the questions are written"
    try:
        weights = parameters(check_base(config.base.model, config.base.revision))
    except UserError:
        return "no estimate: the base model could not be read"
    flops = 2 * weights * (1 + BACKWARD) * count * length * config.train.epochs
    table = Table(
        title=f"estimate for {count:,} rows of ARC, {length:.0f} tokens each, {config.train.epochs:g} epochs "
        f"(own questions come on top; {UTILISATION:.0%} of the sheet's rate assumed, not measured)",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("GPU", "hours", "US dollars"):
        table.add_column(column, justify="left" if column == "GPU" else "right")
    for name, (rate, price) in GPUS.items():
        hours = flops / (rate * 1e12 * UTILISATION) / 3600 * (1 + OTHER_TIME)
        table.add_row(name, f"{hours:.2f}", f"{hours * price:.2f}")
    return table
