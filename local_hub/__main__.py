"""python -m local_hub --root DIR --port N [--host 127.0.0.1] [--seed DIR]...
python -m local_hub token --root DIR --user NAME --role read|write"""

import argparse
import fcntl
import sys
from pathlib import Path
from typing import IO, NoReturn

from local_hub.app import create_app
from local_hub.auth import Tokens
from local_hub.errors import HubError
from local_hub.seeding import SeedError, seed_all
from local_hub.server import address, bind, serve
from local_hub.store import Store


def stop(message: str) -> NoReturn:
    print(f"local Hub: {message}", file=sys.stderr)
    raise SystemExit(2)


def server_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local_hub", description="A Hugging Face Hub on loopback.")
    parser.epilog = "python -m local_hub token --root DIR --user NAME --role write: prints a token, making it if needed"
    parser.add_argument("--root", type=Path, required=True, help="folder for everything the Hub stores")
    parser.add_argument("--port", type=int, required=True, help="port to listen on, 0 for any free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--seed", type=Path, action="append", default=[], metavar="DIR", help="DIR/<owner>/<name>/…")
    return parser.parse_args(argv)


def token_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local_hub token", description="Prints a user's token.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--role", choices=("read", "write"), required=True)
    return parser.parse_args(argv)


def lock(root: Path) -> IO[str]:
    """Two servers on one root would lose each other's commits: the lock on head moves is inside one process."""
    file = (root / "server.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stop(f"{root} is in use by another local Hub")
    return file


def token_command(argv: list[str]) -> None:
    args = token_arguments(argv)
    try:
        tokens = Tokens(args.root)
        tokens.ensure_demo()
        print(tokens.create(args.user, args.role))
    except (OSError, ValueError) as error:
        stop(str(error))


def server_command(argv: list[str]) -> None:
    args = server_arguments(argv)
    try:
        store = Store(args.root)
        held = lock(store.root)
        store.objects.clear_tmp()
        app = create_app(store)
    except OSError as error:
        stop(f"cannot write to {args.root}: {error.strerror or error}")
    with held:
        try:
            sock = bind(args.host, args.port)
        except (OSError, OverflowError) as error:
            stop(f"cannot listen on {args.host}:{args.port}: {getattr(error, 'strerror', None) or error}")
        try:
            for folder in args.seed:
                seed_all(store, folder)
        except (SeedError, HubError, OSError) as error:
            stop(str(error))
        ready = f"local Hub at {address(sock)} (root {args.root})"
        serve(app, sock, lambda: print(ready, flush=True))


def main(argv: list[str]) -> None:
    if argv[:1] == ["token"]:
        token_command(argv[1:])
    else:
        server_command(argv)


if __name__ == "__main__":
    main(sys.argv[1:])
