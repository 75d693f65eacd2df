"""A Hub inside a test: `with running_hub(tmp_path) as hub: …`, in a thread, on a free port."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_hub.app import create_app
from local_hub.auth import Tokens
from local_hub.faults import Fault
from local_hub.server import Server, address, bind
from local_hub.store import Store


@dataclass
class RunningHub:
    """What a test needs to know; `faults` may be changed while the server runs."""

    endpoint: str
    write_token: str
    read_token: str
    store: Store
    tokens: Tokens
    faults: list[Fault]

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """What a client process needs in its environment, before it imports anything of Hugging Face's."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": self.write_token if token is None else token,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "DISABLE_SAFETENSORS_CONVERSION": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }


@contextmanager
def running_hub(root: Path | str, faults: Iterable[Fault] = (), port: int = 0) -> Iterator[RunningHub]:
    """Serves `root` until the block ends; a second run on the same root finds everything again."""
    store, fault_list, ready = Store(root), list(faults), threading.Event()
    sock = bind("127.0.0.1", port)
    server = Server(create_app(store, fault_list), ready.set, log_level="critical")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True, name="local-hub")
    tokens = Tokens(store.root)
    write, read = tokens.find("demo", "write"), tokens.find("demo", "read")
    thread.start()
    try:
        if not ready.wait(timeout=30) or write is None or read is None:
            raise RuntimeError("the local Hub did not start")
        yield RunningHub(address(sock), write, read, store, tokens, fault_list)
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        sock.close()
