"""Who works on shards: datatrove's executors for this machine, Slurm and Ray, each until every shard has its mark.

Datatrove keeps the logs and the completion marks. For Slurm it also writes `executor.pik` with dill, a job file that
the same user's jobs read; what runs there is this code under its own name, so the project and its folder have to be
where the jobs run.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import Stats
from loguru import logger

from jobs import stopping
from jobs.data_config import Scale, Slurm
from jobs.errors import UserError
from jobs.progress import bar
from jobs.shards import Shards, Work

ROOT = Path(__file__).parents[1]
POLL = 5.0  # seconds between two looks at what other machines have done
LOOKS = 3  # at a queue without the job before it counts as ended: marks come late over a network's file system
ARRAY = 1000  # jobs of a Slurm array: 1001 are allowed where nobody has changed it
INTERRUPT = {signal.SIGINT}
Done = Callable[[int], None]


def run_all(name: str, shards: Shards, work: Work, scale: Scale) -> None:
    """Run every shard that has no mark yet. Raises what a shard raised, and `UserError` where one was killed."""
    logger.remove()  # datatrove's words stand in its log files
    shards.forget_failures()
    made = {"pipeline": [Shard(shards, work)], "tasks": shards.count, "workers": scale.workers}
    made["logging_dir"] = str(shards.logs)
    with bar(shards.count, name, unit="shard") as shown:

        def done(count: int) -> None:
            shown.update(count - shown.n)

        if scale.executor == "local":
            _run_local(name, LocalShards(**made), shards, done)
        elif scale.executor == "slurm":
            _run_slurm(name, made, scale.slurm, shards, done)
        else:
            _run_ray(made, shards, done)


class Shard(PipelineStep):
    """The one step of the pipeline: reads a shard's items and writes its results."""

    name, type = "shard", "footnote"

    def __init__(self, shards: Shards, work: Work) -> None:
        super().__init__()
        self.shards, self.work = shards, work

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        self.stats = Stats(repr(self))  # of this shard alone: the step is used for others too
        try:
            with self.track_time("shard"):
                self.shards.keep(rank, self.work(self.shards.items(rank)))
        except Exception as error:
            self.shards.note_failure(rank, error)
            raise
        yield from ()


class LocalShards(LocalPipelineExecutor):
    """Datatrove's local executor, quiet, and without its pool, which waits for ever for a worker that was killed."""

    def run_quietly(self, rank: int) -> None:
        """One shard in this process; what it says on stderr goes to a file."""
        with (
            Path(self.logging_dir.resolve_paths("stderr.log")).open("a", encoding="utf-8") as file,
            contextlib.redirect_stderr(file),
        ):
            try:
                self._run_for_rank(rank, local_rank=1)  # the rank 0 also writes datatrove's notices to stderr
            finally:
                logger.remove()  # the handler that datatrove has put back


def _run_local(name: str, executor: LocalShards, shards: Shards, done: Done) -> None:
    """In this process, or in several: at most one for each shard that is left."""
    shards.logs.mkdir(exist_ok=True)
    left = executor.get_incomplete_ranks()
    before = shards.count - len(left)
    if (workers := min(executor.workers, len(left))) <= 1:
        for number, rank in enumerate(left, before + 1):
            executor.run_quietly(rank)
            done(number)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin_worker) as pool:
        signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPT)  # workers start with this: see `_begin_worker`
        futures = [pool.submit(executor.run_quietly, rank) for rank in left]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPT)
        started = multiprocessing.active_children()
        try:
            for number, future in enumerate(as_completed(futures), before + 1):
                future.result()
                done(number)
        except BrokenProcessPool:  # also where an exception cannot be sent between processes
            if any(worker.exitcode == -signal.SIGINT for worker in started):  # Ctrl-C, which they heard first
                raise KeyboardInterrupt from None
            advice = "start again to go on, with fewer scale.workers if memory was short"
            raise shards.failure() or UserError(f"{name}: a worker process was killed; {advice}") from None
        except stopping.Interrupted:  # sent to this process alone, and a shard under way may take minutes
            for worker in multiprocessing.active_children():
                worker.kill()
            raise
        finally:
            pool.shutdown(cancel_futures=True)  # shards under way are finished


def _begin_worker() -> None:
    """End at once and without a word with Ctrl-C, and with the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPT)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class SlurmShards(SlurmPipelineExecutor):
    """Datatrove's executor for Slurm, without its second job, which sums up figures that nobody reads."""

    def launch_merge_stats(self) -> None:
        """Nothing."""

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        """Datatrove's directives, without an empty partition: the cluster then takes its own default."""
        found = super().get_sbatch_args(max_array)
        return {key: value for key, value in found.items() if key != "partition" or value}


def _run_slurm(name: str, made: dict[str, Any], slurm: Slurm, shards: Shards, done: Done) -> None:
    """One job array, waited for and taken back where the wait ends without its results."""
    if missing := next((command for command in ("sbatch", "squeue") if not shutil.which(command)), None):
        raise UserError(f"scale.executor: slurm needs {missing} on this machine; run on a login node, or use local")
    if str(shards.logs) != shlex.quote(str(shards.logs)):
        raise UserError(f"{shards.logs}: Slurm's job script cannot name it; use a folder without spaces and quotes")
    executor = _slurm_executor(name, made, slurm)
    try:
        with stopping.deferred():  # till it is known what to take back
            executor.launch_job()
        if executor.job_id != -1:  # nothing was left to do
            _await_job(executor, shards, done)
    except subprocess.CalledProcessError as error:
        raise UserError(f"scale.slurm: sbatch refused the job (exit code {error.returncode}), see above") from None
    except BaseException:
        if executor.job_id not in (None, -1):
            with stopping.deferred():  # else the array works on for nobody
                subprocess.run(["scancel", executor.job_id], check=False)
        raise


def _slurm_executor(name: str, made: dict[str, Any], slurm: Slurm) -> SlurmShards:
    """One processor for each shard at work; jobs run this Python and this code, after the user's own commands."""
    here = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH PYTHONPATH={shlex.quote(str(ROOT))}"
    return SlurmShards(
        **made,
        time=slurm.time,
        partition=slurm.partition,
        mem_per_cpu_gb=slurm.memory_gb,
        job_name=f"footnote-{name}",
        env_command=f"{slurm.environment}; {here}" if slurm.environment else here,
        tasks_per_job=math.ceil(made["tasks"] / ARRAY),
        qos="",
        with_srun=False,  # one task on one node: the job's script is enough
    )


def _await_job(executor: SlurmShards, shards: Shards, done: Done) -> None:
    absent = 0
    while left := executor.get_incomplete_ranks():
        done(shards.count - len(left))
        absent = 0 if _queued(executor.job_id) else absent + 1
        _raise_unfinished(executor, shards, ended=absent == LOOKS)
        time.sleep(POLL)
    done(shards.count)


def _queued(job: str) -> bool:
    """Whether anything of a job waits or runs; Slurm forgets a job soon after its end."""
    asked = subprocess.run(["squeue", "--noheader", "--jobs", job], capture_output=True, text=True, check=False)
    return asked.returncode == 0 and bool(asked.stdout.strip())


def _raise_unfinished(executor: PipelineExecutor, shards: Shards, *, ended: bool) -> None:
    """Raise what a shard raised, or, where nobody works any more, that one has no result."""
    if failure := shards.failure():
        raise failure
    if ended and (left := executor.get_incomplete_ranks()):
        raise UserError(f"shard {left[0]:05d} ended without a result; see {shards.logs}, then start again to go on")


def _run_ray(made: dict[str, Any], shards: Shards, done: Done) -> None:
    """On the Ray cluster that RAY_ADDRESS names, or one of this machine alone."""
    if find_spec("ray") is None:
        raise UserError("scale.executor: ray is not installed; pip install ray, or use local")
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level="ERROR")
    executor = RayPipelineExecutor(**made)
    thread = ThreadPoolExecutor(1)
    try:
        running = thread.submit(executor.run)
        while not running.done():
            wait([running], timeout=POLL)
            done(shards.count - len(executor.get_incomplete_ranks()))
            _raise_unfinished(executor, shards, ended=False)
        running.result()
        _raise_unfinished(executor, shards, ended=True)
    finally:
        if started:
            ray.shutdown()
        thread.shutdown(wait=False)
