"""Training rows that are copies of test items, by what a training row says and by what it shows.

Four methods look: exact (the same question, whatever case, punctuation and options), coverage (the share of an item's
runs of 8 words that one row holds), near_duplicate (similarity of the questions with their options) and evidence (the
words that a held-out question rests on, in what a row shows or rests on). None finds a paraphrase in other words.
"""

from jobs.decontamination.copies import find_copies
from jobs.decontamination.items import Copy, Row
from jobs.decontamination.planted import planted_recall
from jobs.decontamination.report import contamination_report

__all__ = ["Copy", "Row", "contamination_report", "find_copies", "planted_recall"]
