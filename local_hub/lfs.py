"""Git LFS, basic transfer: which objects are wanted, their bytes, and the confirmation.

Objects are shared by all repositories. Whoever knows an object's sha256 and size may therefore put it into a
repository of their own without sending it; a Hub for strangers would have to ask for a proof of possession.
"""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from local_hub.errors import HubError, bad_request
from local_hub.http import WEB, Call, Route, route
from local_hub.objects import HashMismatchError
from local_hub.payload import objects
from local_hub.routes_upload import is_sha256


def batch(call: Call) -> Response:
    # Anyone who may write somewhere may send bytes here, as a pull request to a foreign repository needs them;
    # the commit decides what becomes visible.
    call.writable(contribute=True)
    body = call.json()
    if body.get("operation") != "upload":
        raise bad_request("only LFS uploads are supported; downloads go through /resolve/")
    answers = [_answer(call, item) for item in objects(body, "objects")]
    return JSONResponse({"transfer": "basic", "objects": answers}, media_type="application/vnd.git-lfs+json")


def _answer(call: Call, item: dict[str, Any]) -> dict[str, Any]:
    sha256, size = item.get("oid"), item.get("size")
    if not is_sha256(sha256) or not isinstance(size, int) or size < 0:
        return {"oid": str(sha256), "size": 0, "error": {"code": 422, "message": "oid must be a sha256, size a number"}}
    if call.store.objects.has_lfs(sha256, size):
        return {"oid": sha256, "size": size}  # no actions: the client skips the upload
    link, query = f"{call.base}/_lfs/{sha256}", call.hub.signer.query(sha256, size)
    actions = {"upload": {"href": f"{link}?{query}", "header": {}}, "verify": {"href": f"{link}/verify?{query}"}}
    return {"oid": sha256, "size": size, "actions": actions}


def _signed(call: Call) -> tuple[str, int]:
    numbers = call.query("size"), call.query("expires")
    if not all(number.isdecimal() for number in numbers):
        raise HubError(403, "the upload link is invalid or has expired")
    sha256, size = call.args["sha256"], int(numbers[0])
    call.hub.signer.check(sha256, size, int(numbers[1]), call.query("sig"))
    return sha256, size


async def put(call: Call) -> Response:
    """Receives one object; a client that goes away in the middle leaves nothing behind."""
    sha256, size = _signed(call)
    try:
        with call.store.objects.receive(sha256, size) as incoming:
            async for chunk in call.request.stream():
                incoming.write(chunk)
            await run_in_threadpool(incoming.keep)
    except HashMismatchError as error:
        raise HubError(422, f"LFS object refused: {error}") from None
    return Response(status_code=200)


def verify(call: Call) -> Response:
    sha256, size = _signed(call)
    if not call.store.objects.has_lfs(sha256, size):
        raise HubError(404, f"LFS object {sha256} has not arrived")
    return JSONResponse({})


ROUTES: list[Route] = [
    route("POST", WEB + r"\.git/info/lfs/objects/batch", batch),
    route("PUT", r"/_lfs/(?P<sha256>[0-9a-f]{64})", put),
    route("POST", r"/_lfs/(?P<sha256>[0-9a-f]{64})/verify", verify),
]
