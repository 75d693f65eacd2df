"""The app whose models answer what a visitor's browser must survive, and which notes the token ids it is given.

Not a test. `python -m tests.safety_world`; the ids go, a prompt a line, to the file that PROMPTS names.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

PROMPTS = "FOOTNOTE_TEST_PROMPTS"
PACE = 0.02  # seconds between two pieces
PIECE = 24  # characters instead of a token
ANSWER = """**bold** <script>document.title = "broken"</script> <img src=x onerror="document.title='broken'">
![image](http://127.0.0.1:9/seen) [link](javascript:document.title='broken') <iframe src="/config"></iframe>
<svg onload="document.title='broken'"></svg> <a href="javascript:document.title='broken'">a</a>
<b style="position:fixed">b</b>
\\( \\href{javascript:document.title='broken'}{x} \\) $$\\includegraphics{http://127.0.0.1:9/seen}$$
```html
<script>document.title = "broken"</script>
```
| <img src=x onerror="document.title='broken'"> | end |
"""


def main() -> None:
    """The real app but for the texts of its models."""
    import app
    from qa.engine import Engine
    from qa.slots import Slots

    log = Path(os.environ[PROMPTS])
    begin, step, score = Slots.begin, Engine.step, Engine.option_logprobs

    def note(prompt: list[int]) -> None:
        with log.open("a") as file:
            file.write(json.dumps(prompt) + "\n")

    def begun(self: Any, generation: Any) -> None:
        note(generation.prompt)
        begin(self, generation)

    def scored(self: Any, prompt: list[int], *others: Any, **options: Any) -> Any:
        note(prompt)
        return score(self, prompt, *others, **options)

    written: dict[int, int] = {}

    def hostile(self: Any) -> Any:
        time.sleep(PACE)
        return [(generation, _instead(chunk, generation, written)) for generation, chunk in step(self)]

    Slots.begin, Engine.step, Engine.option_logprobs = begun, hostile, scored
    app.main()


def _instead(chunk: Any, generation: Any, written: dict[int, int]) -> Any:
    """The next piece of ANSWER where the model wrote something, and at the end the rest of it."""
    place = written.pop(id(generation), 0)
    if chunk.state == "done":
        return replace(chunk, text=ANSWER[place:])
    if chunk.state == "reading":
        return chunk
    written[id(generation)] = place + PIECE
    return replace(chunk, text=ANSWER[place : place + PIECE])


if __name__ == "__main__":
    main()
