"""The address of an OpenAI-compatible endpoint, and its key, which stands in OPENAI_API_KEY alone."""

from __future__ import annotations

import os

from jobs.errors import UserError


def check_address(endpoint: str, section: str) -> None:
    """Raises `UserError` where an address may hold a secret, which records would repeat, or is not of HTTP."""
    if set("@?#") & set(endpoint):
        mend = "leave them out and put the key in OPENAI_API_KEY"
        raise UserError(f"{section}.endpoint: holds a user, a password or a query, and addresses are recorded; {mend}")
    if endpoint and not endpoint.lower().startswith(("http://", "https://")):
        raise UserError(f"{section}.endpoint: {endpoint} is no http(s) address, such as http://127.0.0.1:8000/v1")


def endpoint_key() -> str:
    """The key, empty where there is none. Raises `UserError` where it cannot be sent."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError("OPENAI_API_KEY: holds a sign that no header can carry, so it is no key; set it again")
    return key
