"""Work shard by shard: the same results whoever works, nothing done twice, and errors that come out as they are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobs import shards
from jobs.data_config import Scale
from jobs.errors import UserError
from jobs.shards import run_shards
from tests import shard_work

ROOT = Path(__file__).parents[1]
TEXTS = ("", "Ångström \u2028", "half of a pair: \ud83d")
ITEMS = [{"n": n, "text": TEXTS[n % 3]} for n in range(10)]
WANTED = [{"n": n, "square": n * n, "text": ITEMS[n]["text"]} for n in range(10)]


def run(folder: Path, items: Any = ITEMS, *, workers: int = 1, how: str = "", size: int = 2) -> list[dict[str, Any]]:
    work = partial(shard_work.fail, how=how) if how else shard_work.trace
    work = partial(work, folder=str(folder))
    return list(run_shards("squares", items, work, folder, scale=Scale(workers=workers), size=size))


def result_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "squares" / "results").iterdir()}


def begun(folder: Path) -> list[int]:
    """Begun since the last look."""
    found = shard_work.traces(folder)
    (folder / "traces").unlink()
    return found


def test_results_are_the_same_whatever_the_number_of_workers(tmp_path: Path, capfd: Any) -> None:
    found = {}
    for workers in (1, 2, 3):
        folder = tmp_path / str(workers)
        folder.mkdir()
        assert run(folder, workers=workers) == WANTED
        processes = {line.split()[1] for line in (folder / "traces").read_text().splitlines()}
        assert (processes == {str(os.getpid())}) == (workers == 1)
        assert begun(folder) == [0, 2, 4, 6, 8]
        found[workers] = result_bytes(folder)
        assert "a library's notice" in (folder / "squares" / "datatrove" / "stderr.log").read_text()
    assert found[1] == found[2] == found[3]
    assert sorted(found[1]) == [f"{shard:05d}.jsonl" for shard in range(5)]
    assert capfd.readouterr() == ("", "")


def test_a_file_of_items_is_read_shard_by_shard(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(json.dumps(item, ensure_ascii=item["n"] % 3 == 2) for item in ITEMS))  # no last newline
    assert run(tmp_path, path, size=4) == WANTED
    laid_out = shards._laid_out(tmp_path / "squares", path, 4)
    assert (laid_out.source, laid_out.count) == (path, 3)
    assert [item["n"] for item in laid_out.items(1)] == [4, 5, 6, 7]
    assert [item["n"] for item in laid_out.items(2)] == [8, 9]


def test_no_items_are_no_work(tmp_path: Path) -> None:
    assert run(tmp_path, []) == []
    assert not (tmp_path / "traces").exists()


def test_state_is_believed_for_the_same_items_alone(tmp_path: Path) -> None:
    run(tmp_path)
    begun(tmp_path)
    assert run(tmp_path, workers=2) == WANTED
    assert not (tmp_path / "traces").exists()
    assert [row["n"] for row in run(tmp_path, ITEMS[:9])] == list(range(9))
    assert begun(tmp_path) == [0, 2, 4, 6, 8]
    assert len(run(tmp_path, ITEMS[:9], size=3)) == 9
    assert begun(tmp_path) == [0, 3, 6]
    assert len(result_bytes(tmp_path)) == 3


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ("user", UserError, r"^paper\.pdf: cannot be used; remove it$"),
        ("value", ValueError, "^six$"),
        ("stubborn", (shard_work.StubbornError, RuntimeError), "no luck with six"),
    ],
)
def test_an_error_comes_out_and_finished_shards_are_kept(
    how: str, error: Any, says: str, workers: int, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        run(tmp_path, workers=workers, how=how)
    assert "00003.jsonl" not in result_bytes(tmp_path)
    kept = {2 * int(path.stem) for path in (tmp_path / "squares" / "datatrove" / "completions").iterdir()}
    assert kept >= {0}
    begun(tmp_path)
    (tmp_path / "mended").touch()
    assert run(tmp_path, workers=workers, how=how) == WANTED
    assert begun(tmp_path) == sorted({0, 2, 4, 6, 8} - kept)


def test_a_killed_worker_is_an_error_that_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^squares: a worker process was killed; start again to go on"):
        run(tmp_path, workers=2, how="killed")
    (tmp_path / "mended").touch()
    assert run(tmp_path, workers=2, how="killed") == WANTED


DRIVER = """
from functools import partial
from pathlib import Path
from jobs.data_config import Scale
from jobs.shards import run_shards
from jobs.errors import run_main
from tests.shard_work import trace

def main():
    work = partial(trace, folder={folder!r}, pause={pause})
    items = [{{"n": n}} for n in range(20)]
    print(sum(row["square"] for row in run_shards("s", items, work, Path({folder!r}), scale=Scale(workers=2), size=1)))

if __name__ == "__main__":
    run_main(main)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    marks, script = tmp_path / "s" / "datatrove" / "completions", tmp_path / "driver.py"
    script.write_text(DRIVER.format(folder=str(tmp_path), pause=0.15))
    command, env = [sys.executable, str(script)], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env) as driver:
        while not marks.is_dir() or len(list(marks.iterdir())) < 4:
            time.sleep(0.01)
        driver.send_signal(signal.SIGKILL)
    workers = {int(line.split()[1]) for line in (tmp_path / "traces").read_text().splitlines()}
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers):  # they end with their driver
        assert time.monotonic() < deadline
        time.sleep(0.01)
    kept = {int(path.name) for path in marks.iterdir()}
    assert 4 <= len(kept) < 20
    (tmp_path / "traces").unlink()
    script.write_text(DRIVER.format(folder=str(tmp_path), pause=0))
    again = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert again.stdout == f"{sum(n * n for n in range(20))}\n"
    assert begun(tmp_path) == sorted(set(range(20)) - kept)


def test_ctrl_c_ends_all_processes_with_one_line(tmp_path: Path) -> None:
    marks, script = tmp_path / "s" / "datatrove" / "completions", tmp_path / "driver.py"
    script.write_text(DRIVER.format(folder=str(tmp_path), pause=0.15))
    command, env = [sys.executable, str(script)], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True) as driver:
        while not marks.is_dir() or not list(marks.iterdir()):
            time.sleep(0.01)
        os.killpg(driver.pid, signal.SIGINT)
        assert driver.communicate()[1] == "stopped; run the same command again to go on\n"
    assert driver.returncode == 130
    assert len(list(marks.iterdir())) < 20


STEP = """
import sys
from pathlib import Path
from jobs.data_config import Scale
from jobs.errors import UserError, run_main
from jobs.shards import run_shards

def work(items):
    if items[0]["n"] == 9:
        raise UserError("nine: leave it out")
    return [{"name": __name__, "torch": "torch" in sys.modules} for _ in items]

def main():
    items = [{"n": n} for n in range(int(sys.argv[2]))]
    print(list(run_shards("w", items, work, Path(sys.argv[1]), scale=Scale(workers=2), size=1)))

if __name__ == "__main__":
    run_main(main)
"""


def test_a_step_started_as_a_module_works_in_processes_without_torch(tmp_path: Path) -> None:
    (tmp_path / "a_step.py").write_text(STEP)
    command, env = [sys.executable, "-m", "a_step"], {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    well = subprocess.run([*command, str(tmp_path), "3"], env=env, capture_output=True, text=True, check=False)
    assert (well.returncode, well.stderr) == (0, "")
    assert well.stdout == f"{[{'name': 'a_step', 'torch': False}] * 3}\n"
    ill = subprocess.run([*command, str(tmp_path), "10"], env=env, capture_output=True, text=True, check=False)
    assert (ill.returncode, ill.stdout, ill.stderr) == (2, "", "error: nine: leave it out\n")
