"""Who asks, and what they may do: tokens with a user and a role, kept in ROOT/tokens.json."""

import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from local_hub.errors import HubError
from local_hub.names import valid_name
from local_hub.objects import Objects

LFS_LINK_SECONDS = 6 * 3600


@dataclass(frozen=True)
class User:
    name: str
    role: str  # read | write

    @property
    def writes(self) -> bool:
        return self.role == "write"


class Tokens:
    """The token file. It is read again whenever it changes, so a token made by the command works at once."""

    def __init__(self, root: Path) -> None:
        self.path, self._objects = root / "tokens.json", Objects(root)
        self._seen: tuple[int, int] | None = None
        self._users: dict[str, User] = {}
        self._lock = threading.Lock()

    def ensure_demo(self) -> None:
        """At the first start there is a user `demo` with one token of each role."""
        if not self.path.exists():
            self.create("demo", "write")
            self.create("demo", "read")

    def create(self, user: str, role: str) -> str:
        """Makes a token for the user, or returns the one it has in this role."""
        if not valid_name(user) or role not in ("read", "write"):
            raise ValueError(f"cannot make a {role} token for user {user!r}")
        with self._lock:
            known = self._read()
            for token, entry in known.items():
                if entry == {"user": user, "role": role}:
                    return token
            token = "hf_" + secrets.token_hex(17)
            known[token] = {"user": user, "role": role}
            self._objects.write_json(self.path, known, mode=0o600)
            return token

    def find(self, user: str, role: str) -> str | None:
        entries = self._read().items()
        return next((token for token, entry in entries if entry == {"user": user, "role": role}), None)

    def _read(self) -> dict[str, dict[str, str]]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def user_of(self, token: str) -> User | None:
        with self._lock:
            stat = self.path.stat()
            if self._seen != (stat.st_mtime_ns, stat.st_ino):
                self._users = {token: User(e["user"], e["role"]) for token, e in self._read().items()}
                self._seen = (stat.st_mtime_ns, stat.st_ino)
        return self._users.get(token)

    def authenticate(self, authorization: str | None) -> User | None:
        """The user of a request; None for an anonymous one. A wrong token is refused even where none is needed."""
        if not authorization:
            return None
        scheme, _, token = authorization.partition(" ")
        user = self.user_of(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return user


class Signer:
    """Signs LFS upload links: the client sends no Authorization header with the bytes."""

    def __init__(self, root: Path) -> None:
        path = root / "secret"
        if not path.exists():
            Objects(root).write_atomic(path, secrets.token_hex(32).encode(), mode=0o600)
        self._key = path.read_bytes()

    def _signature(self, sha256: str, size: int, expires: int) -> str:
        return hmac.new(self._key, f"{sha256}:{size}:{expires}".encode(), hashlib.sha256).hexdigest()

    def query(self, sha256: str, size: int) -> str:
        expires = int(time.time()) + LFS_LINK_SECONDS
        return f"size={size}&expires={expires}&sig={self._signature(sha256, size, expires)}"

    def check(self, sha256: str, size: int, expires: int, signature: str) -> None:
        good = hmac.compare_digest(self._signature(sha256, size, expires), signature)
        if not good or expires < time.time():
            raise HubError(403, "the upload link is invalid or has expired")
