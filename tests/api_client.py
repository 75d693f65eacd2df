"""What the tests of the endpoints for programs share: the running app's state, asked over HTTP."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, **headers: str) -> str:
    """The body of a page of the app."""
    with _opener.open(urllib.request.Request(url, headers=headers)) as answer:  # noqa: S310 - loopback
        return answer.read().decode()


def state_of(address: str) -> dict[str, Any]:
    """What /state says."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{address}/gradio_api/run/state", b'{"data": []}', {"Content-Type": "application/json"}
    )
    with _opener.open(request) as answer:
        return json.load(answer)["data"][0]


def ready(address: str) -> str:
    """The address, once models, questions and papers are loaded."""
    for _ in range(300):
        state = state_of(address)
        if all(part["phase"] == "ready" for part in [*state["parts"], state["papers"]]):
            return address
        time.sleep(0.1)
    raise AssertionError(f"not loaded within 30 s: {state}")
