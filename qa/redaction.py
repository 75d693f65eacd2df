"""Takes the Hub's token, a teacher's key, and the password of an address, out of a text."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from urllib.parse import unquote

VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "OPENAI_API_KEY")
HIDDEN = "[hidden]"
_TOKEN = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}")  # of a person, of an organisation
_USER = re.compile(r"(?<=://)[^/?#\s]+@")  # of `https://USER:PASSWORD@HOST`, as HF_ENDPOINT may have it


def redact(text: str) -> str:
    """The text without the tokens of this process's environment, nor what looks like one; addresses without users."""
    for secret in (*(os.environ.get(name, "").strip() for name in VARIABLES), _basic()):
        if len(secret) >= 8:  # a shorter one is no token, and would blacken whole words
            text = text.replace(secret, HIDDEN)
    return _USER.sub("", _TOKEN.sub(HIDDEN, text))


def _basic() -> str:
    """User and password of HF_ENDPOINT as a request carries them; a server may say them back."""
    found = _USER.search(os.environ.get("HF_ENDPOINT", ""))
    return b64encode(unquote(found[0][:-1]).encode()).decode() if found else ""
