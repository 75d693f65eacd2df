"""The page put together and launched: what it shares, what every answer of the server carries, how it ends."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

import gradio as gr

from space.api import offer_tools
from space.feedback import Feedback
from space.headers import MIDDLEWARE
from space.library import Library
from space.models import Models
from space.page import build
from space.settings import Settings, cannot_listen
from space.state import AppState
from space.theme import CSS, ICON, theme
from space.visitors import Visitors

THREADS = 96  # 64 people who ask or wait hold one each; light events need some beside them
SESSIONS = 500  # remembered at once, 0.22 MB each: Gradio's own 10,000, whose names anybody may make up, are 2.2 GB
ENDING = 2.0  # seconds for a computation to let go of its engine

LAUNCH: dict[str, Any] = {
    "app_kwargs": {"middleware": MIDDLEWARE},
    "favicon_path": ICON,
    "footer_links": [],
    "max_threads": THREADS,
    "state_session_capacity": SESSIONS,
    "show_error": False,  # what a fault of ours says is for the log
    "ssr_mode": False,
    "run_history": False,
    "share": False,  # no public tunnel, whatever the environment says
    "enable_monitoring": False,
    "mcp_server": True,
    "pwa": False,
    "quiet": True,  # its lines advise to open a public tunnel
    "prevent_thread_lock": True,
}


class Serving:
    """A page whose models, papers and feedback come behind it."""

    def __init__(self, settings: Settings) -> None:
        models = Models(settings)
        feedback = Feedback(settings, models.credits)
        self._state = AppState(models, Library(settings), feedback, Visitors(per_address=settings.rate))
        models.start()
        self._state.library.start()
        self._page = build(self._state)

    def launch(self) -> None:
        """Serve until the process is told to end. Raises `SettingsError` where somebody else has taken the port."""
        signal.signal(signal.SIGTERM, _leave)
        try:
            address = _launched(self._page, self._state.models.settings)
            print(f"The page is at {address}", flush=True)
            self._page.block_thread()
        finally:
            self._close()

    def _close(self) -> None:
        """End what is being answered and push what visitors left; an engine that does not let go ends with us."""
        ending = threading.Thread(target=self._state.models.close, daemon=True, name="ending")
        ending.start()
        try:
            self._state.feedback.close()  # meanwhile the computation ends too
        finally:
            ending.join(ENDING)


def _launched(page: gr.Blocks, settings: Settings) -> str:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where the tools for agents are, whatever `quiet` says
        try:
            _, address, _ = page.launch(
                server_name=f"[{settings.host}]" if ":" in settings.host else settings.host,  # as an address has IPv6
                server_port=settings.port,
                theme=theme(),
                css=CSS,
                **LAUNCH,
            )
        except OSError as error:
            raise cannot_listen(settings.host, settings.port, error) from None
    offer_tools(page)
    return address


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)
