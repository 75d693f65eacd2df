"""What the KV cache holds: the prompt being answered, the head that all prompts share, and options being scored.

A head is what many prompts begin with: their system message, and solved examples. It is always computed in batches of
its own, so that results do not depend on which question came first: in another split of batches llama.cpp's sums differ
in their last digits, which flips a near-tie.
"""

from __future__ import annotations

from collections.abc import Iterator

from qa.llama import BATCH, OUTPUTS, SEQUENCES, Context

READ_CHUNK = 64  # prompt tokens between two signs of life: 2.7 s for a 3B on two cores, 17 % slower than 256 at once
MAIN, HEAD, FIRST_OPTION = 0, 1, 2  # sequences of the context


class PromptCache:
    """Bookkeeping over one context; `past` are the tokens of sequence MAIN. As little thread-safe as the context."""

    def __init__(self, context: Context, im_end: int) -> None:
        self.past: list[int] = []
        self._head: list[int] = []
        self._context, self._im_end = context, im_end

    def read_at_once(self, prompt: list[int], head: int = 0) -> int:
        """Compute the prompt, whose head is given by its length; returns the index of the last token in its batch."""
        kept = self.enter(prompt, reuse=False, head=head)
        for start in range(kept, len(prompt), BATCH):
            self.append(prompt[start : start + BATCH])
        return (len(prompt) - kept - 1) % BATCH

    def read(self, prompt: list[int], reuse: bool) -> Iterator[int]:
        """Compute the prompt in chunks; yields how many of its tokens are read."""
        yield self.enter(prompt, reuse)
        while len(self.past) < len(prompt):
            self.append(prompt[len(self.past) : len(self.past) + READ_CHUNK])
            yield len(self.past)

    def append(self, tokens: list[int]) -> None:
        start = len(self.past)
        positions = range(start, start + len(tokens))
        self._context.decode(tokens, positions, [MAIN] * len(tokens), [len(tokens) - 1])
        self.past += tokens

    def enter(self, prompt: list[int], reuse: bool, head: int = 0) -> int:
        """Put the known beginning of the prompt into MAIN (its head; more with `reuse`); returns its length.

        The head is as long as given, or ends with the first turn.
        """
        if not head and self._im_end in prompt[:-1]:
            head = prompt.index(self._im_end) + 1
        kept = common_length(self.past, prompt[:-1]) if reuse else 0
        if kept < max(head, len(self._head)) or not reuse:  # a longer head would take room and serve nothing
            self._load_head(prompt[:head])
            self._context.share(HEAD, MAIN)
            kept = head
        self.past = prompt[:kept]
        self._context.forget(MAIN, kept)
        return kept

    def _load_head(self, head: list[int]) -> None:
        if head == self._head:
            return
        self._head = []
        self.past = []
        self._context.forget(-1)
        for start in range(0, len(head), BATCH):
            part = head[start : start + BATCH]
            positions = range(start, start + len(part))
            self._context.decode(part, positions, [HEAD] * len(part), [len(part) - 1])
        self._head = head

    def rewind(self) -> None:
        """Drop what an interrupted computation left beyond the tokens that are accounted for."""
        if self._context.pointer is None:
            return
        self._context.forget(MAIN, len(self.past))
        for option in range(FIRST_OPTION, SEQUENCES):
            self._context.forget(option)
        if not self._head:
            self._context.forget(HEAD)

    def score_rests(self, start: int, options: list[list[int]]) -> list[float]:
        """Log-probability of each option's tokens after its first, given the prompt in MAIN of `start` tokens."""
        sums = [0.0] * len(options)
        waiting = [number for number, option in enumerate(options) if len(option) > 1]
        while waiting:
            together = self._take(waiting, options, self._context.n_ctx - start)
            for slot in range(len(together)):
                self._context.share(MAIN, FIRST_OPTION + slot)
            work = [
                (token, start + place, FIRST_OPTION + slot, number, options[number][place + 1])
                for slot, number in enumerate(together)
                for place, token in enumerate(options[number][:-1])
            ]
            for begin in range(0, len(work), OUTPUTS):
                part = work[begin : begin + OUTPUTS]
                tokens, positions, sequences, numbers, targets = zip(*part, strict=True)
                self._context.decode(tokens, positions, sequences, range(len(part)))
                for index, (number, target) in enumerate(zip(numbers, targets, strict=True)):
                    sums[number] += float(self._context.log_probabilities(index, [target])[0])
            for slot in range(len(together)):
                self._context.forget(FIRST_OPTION + slot)
        return sums

    @staticmethod
    def _take(waiting: list[int], options: list[list[int]], cells: int) -> list[int]:
        """Remove from `waiting` as many options as have a sequence and a place in the cache."""
        taken: list[int] = []
        while waiting and len(taken) < SEQUENCES - FIRST_OPTION and (not taken or len(options[waiting[0]]) <= cells):
            cells -= len(options[waiting[0]])
            taken.append(waiting.pop(0))
        return taken


def common_length(left: list[int], right: list[int]) -> int:
    """Length of the longest common beginning."""
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return index
    return min(len(left), len(right))
