"""Builds and launches the Space: `python app.py`, configured by the environment variables of space/settings.py."""

from __future__ import annotations

import os
import sys

from space.secrecy import guard
from space.settings import Settings, SettingsError, check_address
from space.starting import StartingPage

# Read when gradio is imported: it sends nothing, keeps no table of who did what (6 ms an event at its default of
# 10,000), and does not block in its own launch.
GRADIO = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_DEBUG": "0",
}


def main() -> None:
    """Answer at once; the page comes when it is imported, and the models behind it."""
    sys.stdout, sys.stderr = guard(sys.stdout), guard(sys.stderr)
    os.environ.update(GRADIO)
    try:
        settings = Settings.read(os.environ)
        check_address(settings.host, settings.port)
        with StartingPage(settings.host, settings.port, settings.title):
            from space.serving import Serving  # Gradio with it: 2.4 s

            serving = Serving(settings)
        serving.launch()
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
