"""One commit, made once: after any error the head is read again, so that what landed is neither lost nor sent twice.

huggingface_hub repeats what it sends but never the commit itself, whose answer may be lost after it landed. Repeating
it is safe where the parent is named and the head was read back in between.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from jobs.errors import UserError
from jobs.hub_errors import HUB_ERRORS, UPLOAD_ERRORS, cause, commit_failed, explain, may_pass, seconds_asked, status_of
from jobs.hub_files import Kind, Local, Operation, difference, tree

WAITS = (2.0, 10.0, 30.0)  # seconds before the second, third and fourth try of a commit
LONGEST_WAIT = 300.0  # seconds; who is asked to wait longer hears of it instead


@dataclass(frozen=True)
class Target:
    """A repository, the files that it is to hold, and the commit that they are to follow."""

    api: HfApi
    repository: str
    kind: Kind
    files: Mapping[str, Local]
    head: str


def commit(target: Target, operations: Sequence[Operation], title: str) -> str:
    """Make the commit and return its id. Raises `UserError` that says what stands in the repository now."""
    for wait in (*WAITS, None):
        try:
            made = _send(target, operations, title)
        except UPLOAD_ERRORS as error:
            failure = cause(error)
            if landed := _landed(target, failure):
                return landed
            asked = seconds_asked(failure)
            if wait is None or asked > LONGEST_WAIT or not (commit_failed(failure) and may_pass(failure)):
                raise _unchanged(target, failure) from None
            _pause(target, failure, max(wait, asked))
        else:
            _check(target, made)
            return made
    raise AssertionError("the last try returns or raises")


def _send(target: Target, operations: Sequence[Operation], title: str) -> str:
    done = target.api.create_commit(
        target.repository, operations, commit_message=title, parent_commit=target.head, repo_type=target.kind
    )
    return done.oid


def _landed(target: Target, failure: BaseException) -> str | None:
    """The commit where it landed all the same, None where nothing did. Raises `UserError` where it is another's."""
    said = explain(failure, target.repository, target.kind)
    try:
        now = target.api.repo_info(target.repository, repo_type=target.kind).sha
        if now == target.head:
            return None
        if _holds(target, now):
            return now
        raise _moved(target, now)
    except RepositoryNotFoundError:
        gone = f"{target.repository}: is gone, or no longer to be seen with this token"
        raise UserError(f"{gone}; nothing of this run is in it; run the same command again to make it anew") from None
    except HUB_ERRORS:
        state = "what the repository holds cannot be read now" if commit_failed(failure) else "nothing was changed"
        raise UserError(f"{said}; {state}: the same command goes on from what is there") from None


def _moved(target: Target, now: str) -> UserError:
    """Says whose commit stands there instead, and whether ours landed before it."""
    history = list(target.api.list_repo_commits(target.repository, repo_type=target.kind, revision=now))
    since = [commit.commit_id for commit in takewhile(lambda commit: commit.commit_id != target.head, history)]
    ours = next((each for each in since[1:] if _holds(target, each)), None)
    who, title = ", ".join(history[0].authors) or "somebody", " ".join(history[0].title.split())[:80]
    added = f"this run's files are in {ours[:12]}, before it" if ours else "nothing of this run was added to it"
    return UserError(
        f"{target.repository}: {who} committed {now[:12]} ({title!r}) while this was sent; {added}; look at that "
        "commit, then run the same command again to put these files in its place"
    )


def _holds(target: Target, commit: str) -> bool:
    return not difference(target.files, tree(target.api, target.repository, target.kind, commit))


def _unchanged(target: Target, failure: BaseException) -> UserError:
    return UserError(f"{explain(failure, target.repository, target.kind)}; nothing was changed there")


def _pause(target: Target, failure: BaseException, seconds: float) -> None:
    answer = f"answered {status}" if (status := status_of(failure)) else "gave no answer"
    print(
        f"{target.repository}: the Hub {answer}; nothing was changed, trying again in {seconds:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    time.sleep(seconds)


def _check(target: Target, made: str) -> None:
    """Raise `UserError` where the Hub stored something else than was sent."""
    try:
        wrong = difference(target.files, tree(target.api, target.repository, target.kind, made))
    except HUB_ERRORS as error:
        said = explain(error, target.repository, target.kind)
        raise UserError(f"{said}; the commit {made[:12]} landed but could not be read back") from None
    if wrong:
        raise UserError(
            f"{target.repository}: {wrong[0].path_in_repo} there is not what was sent: its size or hash differs in "
            f"commit {made[:12]}, which is published; do not use it, and run the same command again"
        )
