"""Replies of models on disk, so that nothing is paid for twice: one small file for each request that was answered."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.chat_endpoint import Completion, Layout
from qa.prompts import Message


def request_key(model: str, messages: Sequence[Message], layout: Layout | None, settings: dict[str, Any]) -> str:
    """SHA-256 of what decides a reply: model, messages, layout and sampling settings.

    Not the server's address, which changes when a machine is rented anew. Two models that servers offer under one name
    therefore share their replies: give them names, or caches, of their own.
    """
    asked = {"model": model, "messages": list(messages), "layout": layout, "settings": settings}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class ReplyCache:
    """Replies by key below a folder. Safe for several processes: a file is written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> Completion | None:
        """The reply, or None where there is none or its file is damaged."""
        try:
            return Completion(**json.loads(self._place(key).read_bytes())).checked()
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError):  # no JSON, or not a completion's fields
            return None

    def put(self, key: str, completion: Completion) -> None:
        """Keep a reply."""
        place = self._place(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, suffix=".partial", delete=False) as file:
            try:
                file.write(json.dumps(asdict(completion)))
                file.close()
                Path(file.name).replace(place)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def _place(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
