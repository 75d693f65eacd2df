"""Run by itself, without this project on its path: load a GGUF file with the llama_cpp that is found, and write tokens.

Prints JSON: the package's version and file, the tokens that a greedy reading writes, and the last logits.
"""

from __future__ import annotations

import json
import sys

PROMPT, TOKENS = (1, 75, 104, 111, 111, 114), 8


def main() -> None:
    import llama_cpp

    model = llama_cpp.Llama(sys.argv[1], n_ctx=64, n_threads=1, logits_all=True, verbose=False)
    written: list[int] = []
    model.eval(PROMPT)
    for _ in range(TOKENS):
        logits = model.scores[model.n_tokens - 1]
        written.append(int(logits.argmax()))
        model.eval(written[-1:])
    found = {"version": llama_cpp.__version__, "package": llama_cpp.__file__, "tokens": written}
    print(json.dumps(found | {"logits": [float(value) for value in logits]}))


if __name__ == "__main__":
    main()
