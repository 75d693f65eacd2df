"""llama.cpp's own converters, several files in one process: `python -m benchmarks.converter SOURCE COMMANDS`.

`SOURCE` is llama.cpp's folder, `COMMANDS` a JSON list of what would be typed there: a script and its arguments.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import json
import runpy
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MODEL, ADAPTER = "convert_hf_to_gguf.py", "convert_lora_to_gguf.py"


def converting(source: Path, *commands: Sequence[str]) -> list[str]:
    """The command that runs llama.cpp's scripts, to be started in the project's folder."""
    return [sys.executable, "-m", "benchmarks.converter", str(source), json.dumps(commands)]


def main() -> None:
    source, commands = Path(sys.argv[1]), json.loads(sys.argv[2])
    sys.modules["sentencepiece"] = _sentencepiece()
    sys.path.insert(0, str(source))
    text_model: Any = importlib.import_module("conversion.base").TextModel
    text_model.get_vocab_base_pre = _or_qwen(text_model.get_vocab_base_pre)
    for script, *arguments in commands:
        sys.argv = [str(source / script), *arguments]
        runpy.run_path(sys.argv[0], run_name="__main__")


def _sentencepiece() -> types.ModuleType:
    """The converter imports it before it looks whether the model has a file for it; a Qwen model has none."""
    stand_in: Any = types.ModuleType("sentencepiece")
    stand_in.__spec__ = importlib.machinery.ModuleSpec("sentencepiece", None)
    stand_in.SentencePieceProcessor = None
    return stand_in


def _or_qwen(table: Callable[[Any, Any], str]) -> Callable[[Any, Any], str]:
    """The converter knows a tokenizer by a hash of how it splits a text; a smaller one than Qwen's is in no table.

    Its rule is Qwen2's all the same: our writer refuses every other.
    """

    def known(model: Any, tokenizer: Any) -> str:
        try:
            return table(model, tokenizer)
        except NotImplementedError:
            return "qwen2"

    return known


if __name__ == "__main__":
    main()
