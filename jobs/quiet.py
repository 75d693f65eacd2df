"""Keeps the terminal for the project's own words: notices of libraries that a user can do nothing about."""

from __future__ import annotations

import logging
import warnings


def quieten() -> None:
    """Silence progress bars and notices of transformers and bitsandbytes that neither ask for nor explain anything."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # one for every shard that is loaded or written
    logging.getLogger("bitsandbytes").setLevel(
        logging.ERROR
    )  # "Failed to load CPU gemm_4bit_forward", also unquantised
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module="transformers"
    )  # raised by peft and trl, not by us
