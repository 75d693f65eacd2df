"""The world of the tests: no network but loopback, a fresh Hugging Face home, nothing sent anywhere.

The clients of the Hub read their environment when they are imported, so it is set here, before any of them is.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

os.environ.update(
    HF_ENDPOINT="http://127.0.0.1:9",  # nothing listens there: a test that means to reach a Hub starts one
    HF_HOME=tempfile.mkdtemp(prefix="footnote-hf-"),
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    GRADIO_ANALYTICS_ENABLED="False",
    NO_PROXY="127.0.0.1,localhost",
    TOKENIZERS_PARALLELISM="false",
    MPLBACKEND="agg",
)
os.environ.pop("HF_TOKEN", None)
LLAMA_CPP = Path(os.environ.get("FOOTNOTE_LLAMA_CPP") or ROOT / "build" / "llama.cpp")
for name in [name for name in os.environ if name.startswith("FOOTNOTE_")]:
    del os.environ[name]  # the page of a test serves what the test says


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real documents and ARC beside the checkout; most clones have none."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the folder of real data, ../shared/data, is absent")
    return SHARED / "data"


@pytest.fixture(scope="session")
def llama_cpp_source() -> Path:
    """llama.cpp's source as the pinned llama-cpp-python has it: convert_hf_to_gguf.py, conversion/, gguf-py/."""
    return _llama_cpp("source", "convert_hf_to_gguf.py")


@pytest.fixture(scope="session")
def llama_tools() -> Path:
    """The folder of llama-quantize, llama-imatrix, llama-perplexity and, where they were built, the other tools."""
    return _llama_cpp("bin", "llama-quantize")


def _llama_cpp(folder: str, file: str) -> Path:
    if not (LLAMA_CPP / folder / file).exists():
        pytest.skip(f"llama.cpp's {folder} ({file}) is absent; run `make llama-tools`")
    return LLAMA_CPP / folder
