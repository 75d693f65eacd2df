"""The key of an OpenAI-compatible endpoint, which stands in OPENAI_API_KEY and never in its address."""

from __future__ import annotations

import os

from jobs.errors import UserError


def check_address(endpoint: str, section: str) -> None:
    """Raises `UserError` where an address holds a secret, which records and errors would repeat, or may hold one."""
    if set("@?#") & set(endpoint):
        mend = "leave them out and put the key in OPENAI_API_KEY"
        raise UserError(f"{section}.endpoint: holds a user, a password or a query, and addresses are recorded; {mend}")


def endpoint_key() -> str:
    """The key, empty where there is none. Raises `UserError` where it cannot be sent."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError("OPENAI_API_KEY: holds a sign that no header can carry, so it is no key; set it again")
    return key
