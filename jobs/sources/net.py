"""How the world beyond this machine is reached, in one value that tests replace."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.sources.arxiv_metadata import ArxivSite
from jobs.sources.clock import Clock


@dataclass(frozen=True)
class Net:
    """arXiv's addresses, the clock, and whether everything is fetched anew."""

    arxiv: ArxivSite = field(default_factory=ArxivSite)
    clock: Clock = field(default_factory=Clock)
    refresh: bool = False
