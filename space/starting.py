"""What answers while the page itself is being imported, some 3 seconds: a small page that gives way to the real one."""

from __future__ import annotations

import html
import socket
import socketserver
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from space.settings import cannot_listen

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<noscript><meta http-equiv="refresh" content="2"></noscript>
<style>
:root {{ color-scheme: light dark; --paper: #fcfbf8; --ink: #1f1d1a; --muted: #665f55; --accent: #9a3412; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #171614; --ink: #ece8e1; --muted: #aaa398; --accent: #f0a071; }}
}}
body {{ margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }}
main {{ max-width: 51.5rem; margin: 0 auto; padding: 2.2rem 1.25rem; }}
h1 {{ font: 600 2.4rem/1.1 Charter, "Bitstream Charter", Georgia, serif; letter-spacing: -.015em; margin: 0; }}
p {{ display: flex; align-items: center; gap: .55rem; margin: .8rem 0; color: var(--muted); }}
p::before {{ content: ""; width: .5rem; height: .5rem; border-radius: 50%; background: var(--accent);
  animation: pulse 1.1s ease-in-out infinite; }}
@keyframes pulse {{ 50% {{ opacity: .25; }} }}
@media (prefers-reduced-motion: reduce) {{ p::before {{ animation: none; }} }}
@media (max-width: 640px) {{ main {{ padding-top: 1.3rem; }} h1 {{ font-size: 2rem; }} }}
</style>
</head>
<body>
<main><h1>{title}</h1><p role="status">The page is starting; it will be here in a few seconds.</p></main>
<script>
setInterval(async () => {{
  try {{
    const answer = await fetch(location.href, {{ method: "HEAD", cache: "no-store" }});
    if (answer.ok && !answer.headers.has("x-starting")) location.reload();
  }} catch {{}}
}}, 500);
</script>
</body>
</html>
"""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    server_bind = socketserver.TCPServer.server_bind  # HTTPServer's asks a name server for the machine's name


class _Handler(BaseHTTPRequestHandler):
    page = b""

    def do_GET(self) -> None:
        self._answer(self.page)

    def do_HEAD(self) -> None:
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        there = self.path.partition("?")[0] == "/"
        self.send_response(HTTPStatus.OK if there else HTTPStatus.SERVICE_UNAVAILABLE)
        self.send_header("x-starting", "1")
        self.send_header("retry-after", "2")
        self.send_header("cache-control", "no-store")
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body if there else b"")

    def log_message(self, *_: Any) -> None:
        """Say nothing: the log is the page's."""


class StartingPage:
    """Serves the small page from a thread of its own within the block."""

    def __init__(self, host: str, port: int, title: str) -> None:
        """Take the port. Raises `SettingsError` where somebody else has it."""
        page = PAGE.format(title=html.escape(title)).encode()
        handler = type("Handler", (_Handler,), {"page": page})
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            server = type("Server", (_Server,), {"address_family": family})
            self._server = server(address[:2], handler)
        except OSError as error:
            raise cannot_listen(host, port, error) from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True, name="starting")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the port to the page: whoever asks in between finds nobody, and asks again half a second later."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
