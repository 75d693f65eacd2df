"""Contents on disk, by their hash: blobs under their git sha1, LFS objects under their sha256.

Everything is written to ROOT/tmp first and renamed into place, so a process killed at any moment leaves either the
whole file or none. (A power cut is another matter: nothing is fsynced.)
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self


class HashMismatchError(ValueError):
    """The bytes that arrived are not the bytes that were announced."""


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """What git itself would hold instead of an LFS file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


class Objects:
    """The content-addressed part of the storage, shared by all repositories."""

    def __init__(self, root: Path) -> None:
        self.blobs, self.lfs, self.tmp = root / "blobs", root / "lfs", root / "tmp"
        for folder in (self.blobs, self.lfs, self.tmp):
            folder.mkdir(parents=True, exist_ok=True)

    def clear_tmp(self) -> None:
        """Removes what killed writers left behind; only for a start, when nobody else writes."""
        shutil.rmtree(self.tmp, ignore_errors=True)
        self.tmp.mkdir(exist_ok=True)

    def tmp_path(self) -> Path:
        return self.tmp / uuid.uuid4().hex

    def blob_path(self, oid: str) -> Path:
        return self.blobs / oid[:2] / oid

    def lfs_path(self, sha256: str) -> Path:
        return self.lfs / sha256[:2] / sha256[2:4] / sha256

    def lfs_size(self, sha256: str) -> int | None:
        """Bytes of a stored LFS object, None if it never arrived."""
        path = self.lfs_path(sha256)
        return path.stat().st_size if path.is_file() else None

    def has_lfs(self, sha256: str, size: int) -> bool:
        return self.lfs_size(sha256) == size

    def put_blob(self, content: bytes) -> str:
        """Stores a small file and returns its git oid."""
        oid = git_oid(content)
        if not self.blob_path(oid).exists():
            self.write_atomic(self.blob_path(oid), content)
        return oid

    def write_atomic(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.tmp_path()
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        temporary.replace(path)

    def write_json(self, path: Path, value: Any, mode: int = 0o644) -> None:
        self.write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False).encode(), mode)

    def receive(self, sha256: str | None = None, size: int | None = None) -> "Incoming":
        return Incoming(self, sha256, size)

    def put_lfs(self, chunks: Iterable[bytes]) -> tuple[str, int]:
        """Stores a large file from a local source; returns sha256 and size."""
        with self.receive() as incoming:
            for chunk in chunks:
                incoming.write(chunk)
            return incoming.keep()


class Incoming:
    """An LFS object on its way in: hashed while it is received, kept only when hash and size are as announced."""

    def __init__(self, objects: Objects, sha256: str | None, size: int | None) -> None:
        self.objects, self.expected, self.expected_size = objects, sha256, size
        self.path, self.hash, self.size = objects.tmp_path(), hashlib.sha256(), 0

    def __enter__(self) -> Self:
        self.file: BinaryIO = self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        with suppress(FileNotFoundError):
            self.path.unlink()

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.expected_size is not None and self.size > self.expected_size:
            raise HashMismatchError(f"more than the announced {self.expected_size} bytes")
        self.hash.update(chunk)
        self.file.write(chunk)

    def keep(self) -> tuple[str, int]:
        """Moves the object to its place; raises HashMismatchError when it is not what was announced."""
        self.file.close()
        sha256 = self.hash.hexdigest()
        if self.expected_size not in (None, self.size):
            raise HashMismatchError(f"{self.size} bytes arrived, {self.expected_size} were announced")
        if self.expected not in (None, sha256):
            raise HashMismatchError(f"sha256 of the received bytes is {sha256}, announced was {self.expected}")
        target = self.objects.lfs_path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        return sha256, self.size
