"""Several processes that share one piece of work, as `accelerate launch` and `torchrun` start them.

The process of rank 0 leads: it alone claims the step's folder, writes into it and speaks. All of them have to see that
folder: on several machines it lies on a disk that they share.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from jobs.errors import UserError
from jobs.failures import note
from jobs.step import StepRecord, read_step, run_step
from jobs.stopping import EXIT, Interrupted

PATIENCE = timedelta(days=2)  # torch gives up after 30 minutes, less than one process may work on a large model
PAUSE = 0.02  # seconds between looks into the store
_MOMENTS = count()  # of telling and waiting, which all processes come to in the same order
NOTHING = ""  # what the leader tells where there is nothing to do


@dataclass(frozen=True)
class Team:
    """Which of how many processes this is; the one of rank 0 leads."""

    rank: int = 0
    world: int = 1
    device: str | None = None

    @classmethod
    def current(cls) -> Team:
        """The team that this process was started in. Alone, neither torch nor accelerate is loaded."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        import torch
        from accelerate import PartialState

        # Without a GPU accelerate has to be told, or each process believes that it is alone.
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
        return cls(state.process_index, state.num_processes, str(state.device))

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def tell(self, word: str) -> str:
        """The leader's word, in every process."""
        if self.world == 1:
            return word
        key, store = f"told/{next(_MOMENTS)}", meeting_place()
        if self.leads:
            store.set(key, word)
            return word
        wait_until(lambda: store.check([key]))
        return store.get(key).decode()

    def wait(self) -> None:
        """Until every process has come this far; the leader is the last to go on, as the store may end with it."""
        if self.world == 1:
            return
        key, store = f"here/{next(_MOMENTS)}", meeting_place()
        store.add(key, 1)
        wait_until(lambda: store.add(key, 0) >= self.world)
        if self.leads:
            wait_until(lambda: store.add(f"{key}/seen", 0) == self.world - 1)
        else:
            store.add(f"{key}/seen", 1)

    def any(self, said: bool) -> bool:
        """Whether one of the processes says so: what all have to do at the same moment, such as to stop."""
        if self.world == 1:
            return said
        import torch
        from accelerate.utils import reduce

        return bool(reduce(torch.tensor(float(said), device=self.device), "sum") > 0)


def run_shared(
    team: Team,
    name: str,
    out: Path,
    *,
    arguments: Mapping[str, Any],
    inputs: Mapping[str, Path],
    work: Callable[[Path], dict[str, Any]],
    share: Callable[[Path], Any],
    goes_on: Callable[[Path, Mapping[str, Any]], bool] | None = None,
) -> tuple[StepRecord, bool]:
    """`run_step` by the leader; while it works, the others do their `share` in the same folder, then wait for it."""
    if not team.leads:
        return _assist(team, out, share)
    begun: list[Path] = []

    def lead(folder: Path) -> dict[str, Any]:
        begun.append(folder)
        team.tell(str(folder.resolve()))
        return work(folder)

    record, new = run_step(name, out, arguments=arguments, inputs=inputs, work=lead, goes_on=goes_on)
    if not begun:
        team.tell(NOTHING)
    team.wait()
    return record, new


def _assist(team: Team, out: Path, share: Callable[[Path], Any]) -> tuple[StepRecord, bool]:
    place = team.tell(NOTHING)
    if place != NOTHING:
        if not Path(place).is_dir():
            raise UserError(f"{place}: process {team.rank} does not see it; use a folder on a disk that all share")
        try:
            share(Path(place))
        except Exception as error:
            if _first_to_fail():  # of this the leader sees no more than that it is stopped
                note(out, error)
            raise
    team.wait()
    return read_step(out), place != NOTHING


def one_voice(main: Callable[[], None]) -> Callable[[], None]:
    """A command's `main` of which, where several processes fail, the first alone says why."""

    def spoken() -> None:
        with _speaking_once():
            main()

    return spoken if int(os.environ.get("WORLD_SIZE", "1")) > 1 else main


@contextmanager
def _speaking_once() -> Iterator[None]:
    try:
        yield
    except Interrupted:
        if os.environ["RANK"] == "0":
            raise
        _leave(EXIT)
    except Exception:
        if _first_to_fail():
            raise
        _leave(1)


@cache
def _first_to_fail() -> bool:
    """Whether no other process failed before this one. Where they have not met, the leader counts as the first."""
    if "torch" not in sys.modules:
        return os.environ["RANK"] == "0"
    try:
        return meeting_place().add("failed", 1) == 1
    except RuntimeError:  # the store was in the process that failed
        return False


@cache
def meeting_place() -> Any:
    """The key-value store in which the processes met, empty at each start."""
    from torch.distributed import PrefixStore, TCPStore

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"footnote/{start}", TCPStore(host, port, is_master=False))


def wait_until(true: Callable[[], bool]) -> None:
    """Look again and again: a wait in torch is deaf to signals, and on a GPU it keeps a core busy for hours."""
    while not true():
        time.sleep(PAUSE)


def _leave(code: int) -> NoReturn:
    """End at once: threads of torch wait for processes that are no more."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
