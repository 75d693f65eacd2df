"""Fields of a JSON body, checked: a body of the wrong shape is the caller's mistake and says so."""

from typing import Any

from local_hub.errors import bad_request

Body = dict[str, Any]


def text(body: Body, key: str, default: str = "") -> str:
    """A string; absent or null means the default."""
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise bad_request(f"{key!r} must be a string of valid unicode")
    return value


def whole(body: Body, key: str) -> int:
    """A count or size; absent means 0."""
    value = body.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise bad_request(f"{key!r} must be a whole number")
    return value


def objects(body: Body, key: str) -> list[Body]:
    """A list of JSON objects; absent means none."""
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise bad_request(f"{key!r} must be a list of objects")
    return value
