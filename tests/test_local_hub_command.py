"""`python -m local_hub` as a person starts and stops it."""

import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def get(port: int, path: str, token: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    return connection.getresponse().read()


def start(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "local_hub", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def refusal(*arguments: object) -> str:
    """The one line on stderr of a start that must fail with status 2."""
    out, err = (process := start(*arguments)).communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1), err
    return err


def test_the_command(tmp_path: Path) -> None:
    seed_folder = tmp_path / "seed" / "owner" / "name"
    seed_folder.mkdir(parents=True)
    (seed_folder / "README.md").write_text("---\nlicense: mit\n---\n# Seeded")
    root = tmp_path / "root"
    server = start("--root", root, "--port", 0, "--seed", tmp_path / "seed")
    try:
        assert server.stdout
        line = server.stdout.readline()
        assert line.startswith("local Hub at http://127.0.0.1:")
        assert line.endswith(f" (root {root})\n")
        port = int(line.split()[3].rsplit(":", 1)[1])
        assert "in use" in refusal("--root", root, "--port", 0)
        assert "cannot listen" in refusal("--root", tmp_path / "other", "--port", port)
        out, _ = start("token", "--root", root, "--user", "new", "--role", "write").communicate(timeout=60)
        assert json.loads(get(port, "/api/whoami-v2", out.strip()))["name"] == "new", "a running Hub knows a new token"
        assert b"# Seeded" in get(port, "/owner/name", out.strip())
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    assert not server.stderr or server.stderr.read() == ""


def test_starts_that_cannot_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write" in refusal("--root", tmp_path / "file" / "root", "--port", 0)
    assert "no such folder" in refusal("--root", tmp_path / "root", "--port", 0, "--seed", tmp_path / "none")
    broken = tmp_path / "seed" / "owner" / "name" / "README.md"
    broken.parent.mkdir(parents=True)
    broken.write_text("---\nlicense: [\n---\n")
    assert "README.md" in refusal("--root", tmp_path / "root", "--port", 0, "--seed", tmp_path / "seed")
