"""An evaluation ends where the process is asked to: it may last longer than the machine, and is done again."""

from __future__ import annotations

from jobs import stopping
from jobs.team import Team


class EvaluationEndedError(Exception):
    """An evaluation was broken off, in all processes at the same batch."""


def end_if_asked() -> None:
    """Raise `EvaluationEndedError` if one of the processes was asked to end; all have to call it alike."""
    if Team.current().any(stopping.asked()):
        raise EvaluationEndedError
