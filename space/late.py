"""What a part of the page learns late: components that are drawn anew until the models have settled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr


@dataclass(frozen=True)
class Late:
    """A component, and what to show in it; asked once a second and when a visitor arrives, so it must be quick."""

    component: gr.components.Component
    show: Callable[[], Any]
