"""The one wheel of llama.cpp's binding that a Space installs, by its name."""

from __future__ import annotations

PACKAGE, TAG = "llama-cpp-python", "py3-none-linux_x86_64"  # any Python 3, as the binding loads its library by ctypes


def wheel_name(version: str) -> str:
    """The file name of this version's wheel."""
    return f"{PACKAGE.replace('-', '_')}-{version}-{TAG}.whl"
