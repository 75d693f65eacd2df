"""SIGTERM ends a command within seconds with a code of its own, and what it started ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from jobs import stopping

ROOT = Path(__file__).parents[1]
STOPPED = "stopped by {}; the same command goes on where it was\n"


def ended(body: str, *numbers: int) -> tuple[int, str, str]:
    """A command runs `body`, prints "ready" in it, and is sent the signals: its exit code, stdout and stderr."""
    program = (
        "import os, signal, time\nfrom jobs import stopping\nfrom jobs.errors import run_main\ndef main():\n"
        f"{textwrap.indent(textwrap.dedent(body), '    ')}\nrun_main(main)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for number in numbers:
            child.send_signal(number)
        out, errors = child.communicate(timeout=30)
    return child.returncode, out, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_work_in_one_line(number: signal.Signals) -> None:
    code, out, errors = ended(
        """
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            print("put in order")
        """,
        number,
    )
    assert (code, out) == (75, "put in order\n")
    assert errors == STOPPED.format(number.name)


def test_deferred_work_is_finished_first() -> None:
    code, out, errors = ended(
        """
        with stopping.deferred():
            print("ready", flush=True)
            while not stopping.asked():
                time.sleep(0.05)
            print("saved")
        print("never")
        """,
        signal.SIGUSR1,
        signal.SIGTERM,  # Slurm's warning, then its SIGTERM: the work that the first began is not cut off
    )
    assert (code, out) == (75, "saved\n")
    assert errors == STOPPED.format("SIGUSR1")


def test_a_second_signal_ends_at_once_and_an_echo_does_not() -> None:
    waits = """
        stopping.ECHO = {echo}
        with stopping.deferred():
            print("ready", flush=True)
            while not stopping.asked():
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGTERM)
            print("saved")
    """
    assert ended(waits.format(echo=60), signal.SIGTERM) == (75, "saved\n", STOPPED.format("SIGTERM"))
    assert ended(waits.format(echo=0), signal.SIGTERM) == (75, "", STOPPED.format("SIGTERM"))


def test_what_swallows_the_exception_hears_it_again_and_in_the_end_the_process_leaves() -> None:
    deaf = """
        import ctypes
        stopping.GRACE = {grace}
        @ctypes.CFUNCTYPE(None)
        def callback():
            print("ready", flush=True)
            for _ in range({naps}):
                time.sleep(0.05)
        callback()
        time.sleep(60)
    """
    code, _, errors = ended(deaf.format(grace=8, naps=10), signal.SIGTERM)
    assert code == 75
    assert "Exception ignored" in errors
    assert "stopped by SIGTERM" in errors
    stubborn = """
        stopping.GRACE = 1
        print("ready", flush=True)
        while True:
            try:
                print("ready", flush=True)
                time.sleep(60)
            except KeyboardInterrupt:
                pass
    """
    code, _, errors = ended(stubborn, signal.SIGTERM)
    assert (code, errors) == (75, STOPPED.format("SIGTERM"))


def test_a_clean_up_is_not_broken_off_by_the_reminder() -> None:
    code, out, errors = ended(
        """
        from contextlib import contextmanager
        @contextmanager
        def tidied():
            try:
                yield
            finally:
                try:
                    raise OSError("gone already")
                except OSError:
                    time.sleep(1.2)
                print("tidied")
        try:
            with tidied():
                print("ready", flush=True)
                time.sleep(60)
        except BaseException:
            time.sleep(1.2)
            print("put in order")
            raise
        """,
        signal.SIGTERM,
    )
    assert (code, out, errors) == (75, "tidied\nput in order\n", STOPPED.format("SIGTERM"))


@pytest.mark.parametrize(
    ("error", "shown"),
    [('UserError("no answer")', "error: no answer"), ('RuntimeError("callback")', "RuntimeError: callback"),
     ("SystemExit(1)", "")],
)  # fmt: skip
def test_a_signal_that_a_library_makes_its_own_error_of_keeps_its_code(error: str, shown: str) -> None:
    code, _, errors = ended(
        f"""
        from jobs.errors import UserError
        try:
            print("ready", flush=True)
            time.sleep(60)
        except BaseException:
            raise {error} from None
        """,
        signal.SIGTERM,
    )
    assert code == 75
    assert errors.endswith(STOPPED.format("SIGTERM"))
    assert errors.splitlines()[-2:-1] == [shown][: len(shown)]


def test_worker_processes_end_with_the_command(tmp_path: Path) -> None:
    code, _, errors = ended(
        f"""
        from functools import partial
        from pathlib import Path
        from threading import Thread
        from jobs.data_config import Scale
        from jobs.shards import run_shards
        from tests.shard_work import trace
        folder = Path({str(tmp_path)!r})
        def tell():
            while not (folder / "traces").exists() or len((folder / "traces").read_text().splitlines()) < 2:
                time.sleep(0.02)
            print("ready", flush=True)
        Thread(target=tell, daemon=True).start()
        work = partial(trace, folder=str(folder), pause=60)
        list(run_shards("s", [{{"n": n}} for n in range(4)], work, folder, scale=Scale(workers=2), size=1))
        """,
        signal.SIGTERM,
    )
    assert (code, errors.splitlines()[-1:]) == (75, [STOPPED.format("SIGTERM").strip()])
    workers = {int(line.split()[1]) for line in (tmp_path / "traces").read_text().splitlines()}
    assert len(workers) == 2
    assert not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers)


def test_the_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with stopping.listen():
        assert not stopping.asked()
        with pytest.raises(stopping.Interrupted, match="SIGUSR1"):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert stopping.asked()
        with pytest.raises(stopping.Interrupted):
            stopping.check()
    assert not stopping.asked()
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before
