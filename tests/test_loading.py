"""What is told of how weights are laid out: the figures where any were measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from qa.repack_probe import Choice, Speeds
from space import loading
from space.loading import Loader
from space.settings import Settings

PLAIN = Speeds(12.3, 0.34)


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (Choice(False, None, None, 0.0), "as stored; nothing was measured"),
        (
            Choice(False, PLAIN, None, 9.1),
            "as stored; measured in 9.1 s: as stored 12 read and 0.3 written tokens per second, "
            "repacked not timed, for the machine is slow or busy",
        ),
        (
            Choice(True, PLAIN, Speeds(77.0, 20.5), 3.1),
            "repacked; measured in 3.1 s: as stored 12 read and 0.3 written tokens per second, "
            "repacked 77 read and 20.5 written tokens per second",
        ),
    ],
)
def test_weights_are_told_with_what_was_measured(
    choice: Choice, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "choose", lambda path, n_threads: choice)
    path = tmp_path / "model.gguf"
    path.touch()
    loader = Loader(Settings.read({}))
    phases: list[str] = []
    assert loader._repack(path, phases.append) is choice.repack
    assert phases == ["measuring"]
    assert dict(loader.facts([path]))["Weights"] == told
