"""Threads that work through requests, and that nothing waits for once their results are no longer wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool


@contextmanager
def workers(count: int) -> Iterator[ThreadPool]:
    """So many threads. At the end what is under way is waited for, so that its results are kept.

    But not on Ctrl-C, nor where the caller takes no more: a server may take minutes. The threads die with the process.
    """
    pool = ThreadPool(count)  # ThreadPoolExecutor's threads are waited for when the process ends
    wanted = True
    try:
        yield pool
    except (KeyboardInterrupt, GeneratorExit):
        wanted = False
        raise
    finally:
        pool.terminate()  # what has not begun is dropped
        if wanted:
            pool.join()
