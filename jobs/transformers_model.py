"""A causal language model of transformers, loaded whole or refused: no weight made up, none left out."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from jobs.errors import UserError
from jobs.threads import one_thread

# A file cut short, tensors of another shape, a way of storing weights whose package is not here.
LOADING_ERRORS = (OSError, ValueError, RuntimeError, ImportError, SafetensorError)
SMALL_MODEL = 20_000_000  # weights; below, a second thread gains little, and on busy cores one is 20 times quicker
FAULTS = {"missing_keys": "are not in its files", "unexpected_keys": "of its files have no place in it"}


def load_model(place: str | Path, *, dtype: str = "auto", revision: str = "main", device: str | None = None) -> Any:
    """The model of a folder or Hub id, in evaluation mode, by default on the GPU if there is one.

    `dtype` is float32, bfloat16, or auto: the type its weights are stored in. Raises `UserError`, which begins with
    the place, where it cannot be loaded, where its files lack a weight, and where they hold one it has no use for.
    """
    import torch

    from jobs.quiet import quieten

    quieten()
    model = load_whole(place, revision=revision, dtype=dtype)
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()


def load_whole(place: str | Path, **options: Any) -> Any:
    """The model as transformers loads it with these options; raises `UserError` as `load_model` does."""
    from transformers import AutoModelForCausalLM

    try:
        model, found = AutoModelForCausalLM.from_pretrained(place, output_loading_info=True, **options)
    except LOADING_ERRORS as error:
        what = "install what is missing" if isinstance(error, ImportError) else "check its files"
        raise UserError(f"{place}: cannot be loaded as a model ({reason_of(error)}); {what}") from None
    for kind, fault in FAULTS.items():
        if names := sorted(found[kind]):
            raise UserError(f"{place}: {len(names)} weights {fault}, such as {names[0]}; check its files")
    return model


def few_threads(model: Any) -> AbstractContextManager[None]:
    """One thread for a model so small that a second gains nothing and waits where the cores are busy."""
    return one_thread() if model.num_parameters() < SMALL_MODEL else nullcontext()


def reason_of(error: Exception) -> str:
    """What a library says of a failure, on one line and not at length."""
    return " ".join(str(error).split())[:200] or type(error).__name__
