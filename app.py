"""Builds and launches the Space: `python app.py`, configured by the environment variables of space/settings.py."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported; it sends nothing then

from space.headers import MIDDLEWARE
from space.models import Models
from space.page import AppState, build
from space.settings import Settings, SettingsError, check_address
from space.theme import CSS, ICON, theme


def main() -> None:
    """Serve the page at once; the models come behind it."""
    try:
        settings = Settings.read(os.environ)
        check_address(settings.host, settings.port)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    models = Models(settings)
    models.start()
    page = build(AppState(models))
    _, address, _ = page.launch(
        server_name=settings.host,
        server_port=settings.port,
        theme=theme(),
        css=CSS,
        app_kwargs={"middleware": MIDDLEWARE},
        favicon_path=ICON,
        footer_links=[],
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        quiet=True,  # its lines advise to open a public tunnel
        prevent_thread_lock=True,
    )
    print(f"The page is at {address}", flush=True)
    page.block_thread()


if __name__ == "__main__":
    main()
