"""What all visitors share."""

from __future__ import annotations

from dataclasses import dataclass, field

from space.feedback import Feedback
from space.library import Library
from space.models import Models
from space.stopping import Stops
from space.visitors import Visitors


@dataclass(frozen=True)
class AppState:
    """Models with their scheduler, the papers, the store of votes, and who may ask how often."""

    models: Models
    library: Library
    feedback: Feedback
    visitors: Visitors
    stops: Stops = field(default_factory=Stops)
