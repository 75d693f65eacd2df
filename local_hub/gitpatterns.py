"""Which files go to LFS, which are ignored: the parts of .gitattributes and .gitignore that the Hub acts upon."""

import re
from functools import lru_cache

LFS_THRESHOLD = 10 * 1024 * 1024  # the Hub refuses larger files outside LFS

_LFS_PATTERNS = (
    "*.7z *.arrow *.avro *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz "
    "*.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite "
    "*.tgz *.wasm *.xz *.zip *.zst *tfevents*"
)
DEFAULT_GITATTRIBUTES = "".join(f"{p} filter=lfs diff=lfs merge=lfs -text\n" for p in _LFS_PATTERNS.split()).encode()


@lru_cache(maxsize=2048)
def _regex(pattern: str) -> re.Pattern[str]:
    """A git glob as a regular expression; without a slash it matches the last part of the path only."""
    anchored = "/" in pattern.rstrip("/")
    out = ""
    tokens = re.findall(r"\*\*/|/\*\*$|\*|\?|\[[^\]]+\]|.", pattern.strip("/"), re.DOTALL)
    special = {"**/": "(?:.*/)?", "/**": "/.*", "*": "[^/]*", "?": "[^/]"}
    for token in tokens:
        is_class = len(token) > 2 and token.startswith("[")
        out += "[" + re.sub(r"^!", "^", token[1:-1]) + "]" if is_class else special.get(token, re.escape(token))
    return re.compile(("" if anchored else "(?:.*/)?") + out, re.DOTALL)


def matches(pattern: str, path: str) -> bool:
    try:
        return _regex(pattern).fullmatch(path) is not None
    except re.error:  # a character class that git would not understand either
        return False


def lfs_patterns(gitattributes: str) -> list[str]:
    """The patterns that carry `filter=lfs`, as the file names them."""
    lines = (line.split() for line in gitattributes.splitlines() if not line.lstrip().startswith("#"))
    return [words[0] for words in lines if "filter=lfs" in words[1:]]


def is_lfs(path: str, size: int, sample: bytes, patterns: list[str]) -> bool:
    """The Hub's choice between LFS and git: by pattern, by size, or because the beginning looks binary."""
    return size > 0 and (size >= LFS_THRESHOLD or b"\0" in sample or any(matches(p, path) for p in patterns))


def is_ignored(path: str, gitignore: str) -> bool:
    """Whether .gitignore's rules leave this file, or a folder above it, out; the last rule that matches decides."""
    parts = path.split("/")
    return any(_rule_says_ignore("/".join(parts[:n]), n < len(parts), gitignore) for n in range(1, len(parts) + 1))


def _rule_says_ignore(path: str, is_folder: bool, gitignore: str) -> bool:
    ignored = False
    for line in gitignore.splitlines():
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        negated, rule = rule.startswith("!"), rule.removeprefix("!")
        if (is_folder or not rule.endswith("/")) and matches(rule, path):
            ignored = not negated
    return ignored
