"""Training: useful tokens a second of the seed's recipe, of `trl sft` with its defaults, and of ours.

All train the same adapter on the same rows of ARC, with as many rows a step, each in a process of its own, in turn.
The model is random: on a CPU a small Qwen2 with the true vocabulary of 151,936 in float32, on a GPU the shape of
Qwen2.5-3B in bfloat16, where model FLOP utilisation and peak memory are told too.
"""

from __future__ import annotations

import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.evaluate_against_lm_eval import ARC, TOKENIZER, save_tokenizer
from benchmarks.paired import measure
from benchmarks.train_sides import Taken, Work
from jobs.errors import UserError
from jobs.gguf_ladder.speed import cpu_name

ROUNDS = 2
BATCH, MAX_LENGTH, SEED = 4, 512, 17
STEPS = {"cpu": 4, "cuda": 100}  # beside the first, which is not counted
PACK = 5  # rows of ARC to one of a pack of 512 tokens, so that packs make as many steps
# Of a token at length 512 without the output layer (forward 5.62, backward through activations 5.70, LoRA 0.18), and
# of the output layer for a token of an answer, where alone the loss asks for it (forward and backward 0.62 each).
FLOP = {"3b": (11.50e9, 1.24e9)}
NAMES = {
    "seed": f"the seed's recipe: rows padded to {MAX_LENGTH}, labels on all tokens",
    "trl": "trl sft, its defaults",
    "ours": "ours",
    "packed": "ours, train.packing",
}
GOALS = {"seed": 5.0, "trl": 1.3}  # how many times as many tokens a second ours is to train, on a CPU
MAKE = "import sys; from benchmarks.train_recipes import make_model; make_model(*sys.argv[1:])"
TAKE = "import sys; from benchmarks.train_sides import take; take(*sys.argv[1:])"
COLUMNS = (
    *("", "steps", "tokens", "wall s", "CPU s", "tokens / s", "tokens / CPU s", "ours / it\n(CPU s, lowest–highest)"),
    *("peak\nGB", "loss, first\nto last step"),
)
Round = Mapping[str, Taken]


@dataclass(frozen=True)
class Shape:
    """A random Qwen2: layers, width, width of the feed-forward, heads, heads of keys and values."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int = 151_936


SHAPES = {
    "tiny": Shape(2, 64, 128, 4, 2),
    "small": Shape(6, 512, 2048, 8, 2),
    "3b": Shape(36, 2048, 11008, 16, 2),
}


@dataclass(frozen=True)
class Setting:
    """What one run of the benchmark compares, and where."""

    device: str = "cpu"
    shape: str = "small"
    quantize: str = "none"
    steps: int = STEPS["cpu"]
    rounds: int = ROUNDS

    @property
    def sides(self) -> tuple[str, ...]:
        """Those that have a recipe for it: 4-bit weights are ours alone."""
        return tuple(NAMES) if self.quantize == "none" else ("ours", "packed")


def main(setting: Setting, *, arc: str = str(ARC), tokenizer: str = TOKENIZER) -> list[Round]:
    """Run every side in every round and print the table. Ends with exit code 1 where a loss is no number."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="footnote-bench-") as folder:
        home = Path(folder)
        save_tokenizer(tokenizer, home)
        console.print(f"making a random Qwen2, shape {setting.shape}")
        measure(MAKE, folder, setting.shape, setting.device)
        work = Work(
            model=folder,
            rows=draw(arc, PACK * BATCH * (setting.steps + 1)),
            batch=BATCH,
            max_length=MAX_LENGTH,
            device=setting.device,
            quantize=setting.quantize,
        )
        found = [run(work, setting, number, home, console) for number in range(1, setting.rounds + 1)]
    Console(width=max(console.width, 190)).print(
        heading(setting), table(found, setting), *goals(found, setting), sep="\n"
    )
    if broken := [NAMES[side] for one in found for side, taken in one.items() if not finite(taken)]:
        raise SystemExit(f"train: a loss is no number: {broken[0]}")
    return found


def run(work: Work, setting: Setting, number: int, home: Path, console: Console) -> Round:
    """Every side once, each in a process of its own."""
    found = {}
    for side in setting.sides:
        console.print(f"round {number} of {setting.rounds}: {NAMES[side]}")
        asked, answered = home / "work.json", home / "taken.json"
        rows = work.rows if side == "packed" else work.rows[: BATCH * (setting.steps + 1)]
        asked.write_text(work.model_copy(update={"rows": rows}).model_dump_json())
        measure(TAKE, side, str(asked), str(answered))
        found[side] = Taken.model_validate_json(answered.read_text())
    return found


def draw(arc: str, count: int) -> tuple[tuple[list[dict[str, str]], list[dict[str, str]]], ...]:
    """Training rows of ARC-Challenge as `build_dataset` has them, drawn with a fixed seed, again where they are few."""
    from jobs.arc import load_arc
    from jobs.rows import completion_of, prompt_of

    rows = load_arc(arc, ["ARC-Challenge"])[0]["train"]
    if not rows:
        raise UserError(f"{arc}: no training rows of ARC-Challenge; name another --arc")
    drawn = random.Random(SEED).sample(rows, min(count, len(rows)))
    return tuple((prompt_of(row), completion_of(row)) for row in (drawn * -(-count // len(drawn)))[:count])


def make_model(folder: str, name: str, device: str) -> None:
    """A random Qwen2 with tied embeddings."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(SEED)
    shape = SHAPES[name]
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        bos_token_id=shape.vocabulary - 293,
        eos_token_id=shape.vocabulary - 291,
        pad_token_id=shape.vocabulary - 293,
    )
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    Qwen2ForCausalLM(config).save_pretrained(folder)


def heading(setting: Setting) -> str:
    """What was compared, on what machine."""
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "trl", "peft"))
    machine = f"one thread of {cpu_name()}"
    if setting.device == "cuda":
        import torch

        machine = torch.cuda.get_device_name()
    shape = SHAPES[setting.shape]
    model = (
        f"{shape.layers} layers of width {shape.width}, vocabulary {shape.vocabulary:,}, {setting.quantize} quantised"
    )
    return (
        f"training: rounds: {setting.rounds}, {BATCH} rows a step, LoRA on all linear layers; {model}\n"
        f"{machine}; {versions}\n"
        "trl's defaults are bfloat16 autocast and gradient checkpointing; on a CPU the others have neither"
    )


def table(found: Sequence[Round], setting: Setting) -> Table:
    """One row for each side: medians over the rounds."""
    shown = Table(box=None)
    columns = [*COLUMNS, "FLOP\nutilisation"] if setting.device == "cuda" else COLUMNS
    for column in columns:
        shown.add_column(column, justify="right" if column else "left", no_wrap=True)
    for side in found[0]:
        shown.add_row(NAMES[side], *cells(found, side, setting))
    return shown


def cells(found: Sequence[Round], side: str, setting: Setting) -> list[str]:
    """A side's figures as the table shows them."""
    mine = [one[side] for one in found]
    rates = [taken.tokens / taken.wall_seconds for taken in mine]
    ahead = [cpu_rate(one["ours"]) / cpu_rate(one[side]) for one in found]
    row = [
        *(str(mine[0].steps), str(mine[0].tokens)),
        *(f"{statistics.median(taken.wall_seconds for taken in mine):.1f}",),
        *(f"{statistics.median(taken.cpu_seconds for taken in mine):.1f}",),
        *(f"{statistics.median(rates):,.0f}", f"{statistics.median(map(cpu_rate, mine)):,.1f}"),
        f"{statistics.median(ahead):.2f} ({min(ahead):.2f}–{max(ahead):.2f})",
        f"{statistics.median(taken.peak_bytes for taken in mine) / 1e9:.2f}",
        f"{mine[0].losses[0]:.3f} to {mine[0].losses[-1]:.3f}",
    ]
    if setting.device == "cuda":
        row.append(utilisation(mine, setting.shape))
    return row


def utilisation(mine: Sequence[Taken], shape: str) -> str:
    """Share of the card's matrix rate that useful tokens take: the output layer counts for those of answers."""
    if shape not in FLOP:
        return "–"
    body, answer = FLOP[shape]
    work = [body * taken.tokens + answer * taken.answer_tokens for taken in mine]
    shares = [flop / taken.wall_seconds / taken.matrix_rate for flop, taken in zip(work, mine, strict=True)]
    return f"{100 * statistics.median(shares):.0f} %"


def goals(found: Sequence[Round], setting: Setting) -> list[str]:
    """Whether ours trains as many times the tokens a second as it is to, on a CPU."""
    return [_goal(found, side) for side in GOALS] if setting.device == "cpu" else []


def _goal(found: Sequence[Round], side: str) -> str:
    ratio = statistics.median(cpu_rate(one["ours"]) / cpu_rate(one[side]) for one in found)
    met = "met" if ratio >= GOALS[side] else "MISSED"
    return f"ours against {NAMES[side]}: {ratio:.2f} times the tokens a CPU second; {GOALS[side]} is the goal: {met}"


def cpu_rate(taken: Taken) -> float:
    return taken.tokens / taken.cpu_seconds


def finite(taken: Taken) -> bool:
    """Whether every loss is a number."""
    return all(loss == loss and abs(loss) != float("inf") for loss in taken.losses)
