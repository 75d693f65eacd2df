"""An OpenAI-compatible server on loopback whose replies a test decides. Not a test: test modules import it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer(ThreadingHTTPServer):
    """Answers with what `reply` makes of a request, and keeps every request."""

    request_queue_size = 64  # of the default 5, some of eight connections at once wait a second

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict] = []
        self.reply = lambda request: ""
        self.statuses: list[int] = []  # answered first, one a request
        self.refusal = "refused"
        self.status = lambda request: 200  # once `statuses` is used up
        self.takes_schema = True
        self.takes_only = ""  # the one type of response_format known; others are 500, as with llama-cpp-python's server
        self.usage: dict[str, int] | None = None
        self.page: tuple[str, str] | None = None  # content type and text sent instead of a completion

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def running_chat_server() -> Iterator[ChatServer]:
    """A server that listens until the block ends."""
    server = ChatServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request["key"] = self.headers["Authorization"]
        self.server.requests.append(request)
        status = self.server.statuses.pop(0) if self.server.statuses else self.server.status(request)
        refusal, only = self.server.refusal, self.server.takes_only
        if "response_format" in request and not self.server.takes_schema:
            status = 400
        if only and request.get("response_format", {}).get("type", only) != only:
            status, refusal = 500, f"('body', 'response_format', 'type'): Input should be {only!r}"
        message = {"role": "assistant", "content": self.server.reply(request) if status == 200 else ""}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        if self.server.usage:
            body["usage"] = self.server.usage
        sent = json.dumps(body if status == 200 else {"error": {"message": refusal}})
        kind, text = self.server.page or ("application/json", sent)
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...
