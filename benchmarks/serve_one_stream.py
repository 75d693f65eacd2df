"""One visitor alone: prompt and generation in tokens a second, ours beside llama.cpp's llama-bench on the same file."""

from __future__ import annotations

import json
import random
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.serve_sides import WINDOW, tool
from benchmarks.serve_visitors import ANSWER
from qa.engine import Chunk, Engine, Generation
from qa.prompts import Message

PROMPTS = (64, 128, 256)  # tokens
GENERATED = 32
WARM_UP = 16  # tokens of the prompt that is read before the clock starts

Speeds = dict[str, float]  # "prompt 64" and so on, "generation" → tokens a second


def ours(path: Path, *, repack: bool, threads: int) -> Speeds:
    """Through `begin` and `step`, as the page serves it, with room for four and one who asks."""
    with Engine.load(path, n_ctx=WINDOW, n_threads=threads, parallel=4, repack=repack) as engine:
        _speeds(engine, WARM_UP, 2)
        found = {f"prompt {count}": _speeds(engine, count, 2)[0] for count in PROMPTS}
        return found | {"generation": _speeds(engine, PROMPTS[0], GENERATED + 1)[1]}


def _speeds(engine: Engine, prompt_tokens: int, tokens: int) -> tuple[float, float]:
    """Tokens a second until the first token, of a prompt that shares nothing with those before, and from there on."""
    generation = engine.begin(_messages(engine, prompt_tokens), **replace(ANSWER, max_tokens=tokens).as_dict())
    begun = first = time.perf_counter()
    chunk: Chunk | None = None
    while chunk is None or chunk.state != "done":
        chunk = _news(engine, generation) or chunk
        if chunk and chunk.tokens and first == begun:
            first = time.perf_counter()
    if chunk.tokens != tokens:
        raise RuntimeError(f"the model ended its turn after {chunk.tokens} of {tokens} tokens")
    return chunk.prompt_tokens / (first - begun), (tokens - 1) / (time.perf_counter() - first)


def _news(engine: Engine, generation: Generation) -> Chunk | None:
    return next((chunk for served, chunk in engine.step() if served is generation), None)


_drawn = random.Random(3)


def _messages(engine: Engine, tokens: int) -> list[Message]:
    """One turn whose prompt has so many tokens, or a few less; it opens with other words each time."""
    words: list[str] = []

    def made() -> list[Message]:
        return [{"role": "user", "content": " ".join(words)}]

    while (count := len(engine.encoder.prompt(made()))) < tokens:
        words.extend(_drawn.choices("model layer rank loss data head width cost".split(), k=tokens - count))
    while len(engine.encoder.prompt(made())) > tokens:
        words.pop()
    return made()


def llama_bench(path: Path, *, repack: bool, threads: int) -> Speeds:
    """What llama-bench says of the same file, with its own defaults."""
    command = [str(tool("bench")), "-m", str(path), "-t", str(threads), "-p", ",".join(map(str, PROMPTS))]
    command += ["-n", str(GENERATED), "-r", "1", "--repack", str(int(repack)), "-o", "json"]
    said = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return {_name(line): line["avg_ts"] for line in said}


def _name(line: dict[str, int]) -> str:
    return f"prompt {line['n_prompt']}" if line["n_prompt"] else "generation"
