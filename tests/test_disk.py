"""Too little room is an error before the first byte, wherever the folder is to be made."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.disk import check_room
from jobs.errors import UserError


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> list[Path]:
    asked: list[Path] = []

    def usage(place: Path) -> SimpleNamespace:
        asked.append(Path(place))
        return SimpleNamespace(free=count)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return asked


def test_the_error_says_what_there_is_and_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free(monkeypatch, 3_100_000_000)
    with pytest.raises(UserError, match=r"merged: 3\.1 GB free, 6\.2 GB needed for the merged weights; "):
        check_room(tmp_path / "merged", 6_200_000_000, "the merged weights")
    free(monkeypatch, 1_500_000)
    with pytest.raises(UserError, match=r"1\.5 MB free, 2\.0 MB needed"):
        check_room(tmp_path, 2_000_000, "the index")


def test_exactly_enough_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free(monkeypatch, 1000)
    check_room(tmp_path, 1000, "it")


def test_the_nearest_folder_that_exists_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = free(monkeypatch, 1)
    check_room(tmp_path / "new" / "run" / "merged", 1, "it")
    monkeypatch.chdir(tmp_path)
    check_room(Path("relative/merged"), 1, "it")
    assert asked == [tmp_path, tmp_path]


def test_a_real_disk_has_room_for_a_byte_and_not_for_an_exabyte(tmp_path: Path) -> None:
    check_room(tmp_path, 1, "a byte")
    with pytest.raises(UserError, match=r"free, 1000000000000\.0 GB needed"):
        check_room(tmp_path, 10**21, "everything")
