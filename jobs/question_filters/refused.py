"""How a filter says no."""


class RefusedError(Exception):
    """A question that is left out; the message is the reason."""
