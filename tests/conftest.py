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
for name in [name for name in os.environ if name.startswith("FOOTNOTE_")]:
    del os.environ[name]  # the page of a test serves what the test says


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real documents and ARC beside the checkout; most clones have none."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the folder of real data, ../shared/data, is absent")
    return SHARED / "data"
