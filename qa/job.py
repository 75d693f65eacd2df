"""What somebody who asked holds: an iterator of news about one answer, or about two that are written side by side.

News that were not taken are merged, so that a slow reader gets longer pieces and never an older state, and whoever
waits hears something every `PULSE` seconds.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from qa.ask_settings import AskSettings
from qa.engine import Chunk
from qa.prompts import Message
from qa.waiting_line import PULSE

Ending = Literal["cancelled", "deadline", "failed"]


@dataclass(frozen=True)
class Part:
    """One answer that is wanted: of which engine, to what, and how it is drawn."""

    engine: str
    messages: Sequence[Message]
    settings: AskSettings


@dataclass(frozen=True)
class News:
    """What is new about one part of a job.

    Without chunk and finish the job is in the queue at `place` (1 is next), for about `wait` seconds, None where nobody
    can know. With a finish it ended otherwise than the engine ends an answer: at a time limit, in the queue or in the
    middle, or by a fault; the chunk then holds the last of the text, if it had begun.
    """

    part: int
    chunk: Chunk | None = None
    place: int = 0
    wait: float | None = None
    finish: Literal["", "deadline", "failed"] = ""


class Share:
    """One part of a job while it is worked on: what is known of it, and what of that was not told yet."""

    def __init__(self, number: int, part: Part, prompt_tokens: int) -> None:
        self.number, self.part = number, part
        self.ended = self.fresh = self.told = False  # told: its ending was taken
        self._last = Chunk("", "reading", prompt_tokens, 0, 0)
        self._text = ""
        self._finish: Literal["", "deadline", "failed"] = ""
        self._begun = False

    def begin(self) -> None:
        """It has left the queue."""
        self._begun = self.fresh = True

    def add(self, chunk: Chunk) -> None:
        """Take in what the engine said, unless it has ended already."""
        if not self.ended:
            self._text += chunk.text
            self._last, self.fresh, self.ended = chunk, True, chunk.state == "done"

    def end(self, ending: Ending) -> None:
        """End it for another reason than the engine's; what was written stays."""
        if self.ended:
            return
        if ending == "cancelled":
            self._last, self._begun = replace(self._last, state="done", finish="cancelled"), True
        else:
            self._finish = ending
        self.ended = self.fresh = True

    def news(self) -> News:
        """What was not told yet, or where it stands if nothing is new."""
        chunk = replace(self._last, text=self._text) if self._begun else None
        self._text, self.fresh, self.told = "", False, self.ended
        return News(self.number, chunk, finish=self._finish)


class Job:
    """Iterate it for its news; leaving the iteration early, or `cancel` from any thread, ends it at once.

    All else is the scheduler's, which holds the lock for whatever it changes here.
    """

    def __init__(
        self,
        visitor: str,
        shares: list[Share],
        lock: threading.Lock,
        clock: Callable[[], float],
        drop: Callable[[Job], None],
        place: Callable[[Job], tuple[int, float | None]],
    ) -> None:
        self.visitor, self.shares = visitor, shares
        self.submitted = clock()
        self.begun: float | None = None
        self._changed = threading.Condition(lock)
        self._clock, self._drop, self._place = clock, drop, place
        self._heard, self._present, self._left, self._moved = self.submitted, False, False, True

    def __iter__(self) -> Iterator[News]:
        try:
            while batch := self._take():
                yield from batch
        finally:
            self.cancel()

    def cancel(self) -> None:
        """End it, be it waiting or running; safe to repeat. Its iteration ends without waiting for the engine."""
        self._left = True
        if self._changed.acquire(timeout=PULSE):  # not to be had where the garbage collector closes an iteration in
            self._changed.release()  # the middle of the scheduler's own work, which then drops it at its next turn
            self._drop(self)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come but what was not taken yet."""
        return all(share.ended for share in self.shares)

    def silent(self, now: float) -> float:
        """Seconds since anybody took its news; endless once its reader has left."""
        return math.inf if self._left else 0.0 if self._present else now - self._heard

    def move(self) -> None:
        """Its place has changed, or it has left the queue."""
        self._moved = True
        self._changed.notify_all()

    def hear(self, share: Share, chunk: Chunk) -> None:
        """Take in what the engine said of one of its parts."""
        share.add(chunk)
        self._changed.notify_all()

    def end(self, ending: Ending) -> None:
        """End what has not ended."""
        for share in self.shares:
            share.end(ending)
        self._changed.notify_all()

    def _take(self) -> list[News]:
        with self._changed:
            self._present = True
            if not self._moved and not any(share.fresh for share in self.shares) and not self._told:
                self._changed.wait(PULSE)
            self._present, self._heard, self._moved = False, self._clock(), False
            return self._news()

    @property
    def _told(self) -> bool:
        return all(share.told for share in self.shares)

    def _news(self) -> list[News]:
        if self.begun is None and not self.ended:
            place, wait = self._place(self)
            return [News(share.number, None, place, wait) for share in self.shares]
        untold = [share for share in self.shares if not share.told]
        fresh = [share for share in untold if share.fresh]
        return [share.news() for share in fresh or untold]
