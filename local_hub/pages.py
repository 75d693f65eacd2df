"""Plain pages for a person who opens the demo Hub in a browser. Everything shown is escaped; no script runs."""

from html import escape
from urllib.parse import quote

from starlette.responses import HTMLResponse, Response

from local_hub.errors import HubError
from local_hub.http import WEB, Call, Route, route
from local_hub.names import KINDS, RepoId

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid #8886;border-radius:6px;padding:1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .5rem;border-bottom:1px solid #8886;"
    "overflow-wrap:anywhere}td.n,th.n{text-align:right;white-space:nowrap}a{color:LinkText}small{opacity:.75}"
)
# The style is the only thing a page brings along; a README cannot add anything, were the escaping ever to fail.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _page(title: str, body: str, status: int = 200) -> Response:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    html = f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{body}</body></html>'
    return HTMLResponse(html, status, {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"})


def human_size(size: int) -> str:
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def home(call: Call) -> Response:
    parts = ["<h1>Local Hub</h1>"]
    for kind, plural in KINDS.items():
        rows = [_row(call, repo) for repo in call.store.repos(kind)]
        shown = "".join(rows)
        head = '<tr><th>name</th><th>last commit</th><th class="n">files</th></tr>'
        table = f"<table>{head}{shown}</table>" if shown else "<p>None yet.</p>"
        parts.append(f"<h2>{plural.capitalize()}</h2>{table}")
    return _page("Local Hub", "".join(parts))


def _row(call: Call, repo: RepoId) -> str:
    meta = call.store.meta(repo)
    if meta is None or not call.may_read(repo, meta):
        return ""
    commit = call.store.resolve(repo, "main")
    link = f'<a href="/{quote(repo.web_path)}">{escape(repo.id)}</a>'
    last = f"{escape(commit['title'])} <small>{escape(commit['date'][:16].replace('T', ' '))}</small>"
    return f'<tr><td>{link}</td><td>{last}</td><td class="n">{len(commit["tree"])}</td></tr>'


def repository(call: Call) -> Response:
    """README and files of one repository at a revision, the newest by default."""
    try:
        repo, _ = call.repo()
        commit = call.store.resolve(repo, call.args.get("rev", "main"))
    except HubError:
        body = '<p><a href="/">Local Hub</a></p><h1>Not found</h1><p>No such repository here.</p>'
        return _page("Not found", body, 404)
    rows = []
    for path, entry in commit["tree"].items():
        href = f"/{quote(repo.web_path)}/resolve/{commit['id']}/{quote(path)}"
        size = f"{human_size(entry['size'])}{' LFS' if entry['lfs'] else ''}"
        rows.append(f'<tr><td><a href="{href}">{escape(path)}</a></td><td class="n">{size}</td></tr>')
    readme = escape(call.store.read_text(commit, "README.md"))
    body = (
        f'<p><a href="/">Local Hub</a> / {repo.plural}</p><h1>{escape(repo.id)}</h1>'
        f"<p>{escape(commit['title'])} <small>{escape(commit['date'])} {commit['id'][:12]}</small></p>"
        f"<h2>README.md</h2>{f'<pre>{readme}</pre>' if readme else '<p>There is none.</p>'}"
        f'<h2>Files</h2><table><tr><th>path</th><th class="n">size</th></tr>{"".join(rows)}</table>'
    )
    return _page(repo.id, body)


ROUTES: list[Route] = [
    route("GET HEAD", r"/", home),
    route("GET HEAD", WEB + r"(?:/(?:tree|commit|blob)/(?P<rev>[^/]+)(?:/.*)?)?", repository),
]
