"""Names of licences: addresses and spellings → SPDX's names, and the licence of a folder from its LICENSE file."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

_NAMES = {  # spelling in lower case, without "the" and "license": SPDX's name
    **{name.lower(): name for name in ("Apache-2.0", "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "ISC")},
    **{name.lower(): name for name in ("Unlicense", "ODC-By-1.0", "CC0-1.0", "public-domain")},
    **dict.fromkeys(("apache 2.0", "apache 2", "apache version 2.0"), "Apache-2.0"),
    **dict.fromkeys(("apache software 2.0", "apache2", "apache v2"), "Apache-2.0"),
    **dict.fromkeys(("expat", "x11/mit"), "MIT"),
    **dict.fromkeys(("bsd 2-clause", "simplified bsd", "bsd 2 clause", "2-clause bsd", "bsd-2"), "BSD-2-Clause"),
    **dict.fromkeys(("bsd 3-clause", "new bsd", "modified bsd", "bsd 3 clause", "3-clause bsd"), "BSD-3-Clause"),
    **dict.fromkeys(("public domain", "pd", "public domain mark 1.0", "cc-pdm-1.0"), "public-domain"),
    **dict.fromkeys(("odc-by", "open data commons attribution", "open data commons attribution v1.0"), "ODC-By-1.0"),
    **dict.fromkeys(("cc0", "cc zero", "cc0 1.0", "cc0 1.0 universal", "creative commons zero"), "CC0-1.0"),
    **dict.fromkeys(("creative commons zero v1.0 universal", "creative commons cc0 1.0 universal"), "CC0-1.0"),
    **dict.fromkeys(
        ("arxiv.org perpetual non-exclusive 1.0", "arxiv.org - non-exclusive to distribute"),
        "arXiv-nonexclusive-distrib-1.0",
    ),
}
_ADDRESSES = (  # what an address holds after its scheme and www.: SPDX's name
    (r"creativecommons\.org/publicdomain/zero/1\.0", "CC0-1.0"),
    (r"creativecommons\.org/(publicdomain/mark/1\.0|licenses/publicdomain)", "public-domain"),
    (r"arxiv\.org/licenses/nonexclusive-distrib/1\.0", "arXiv-nonexclusive-distrib-1.0"),
    (r"arxiv\.org/licenses/assumed-1991-2003", "arXiv-assumed-1991-2003"),
    (r"apache\.org/licenses/license-2\.0(\.html|\.txt)?", "Apache-2.0"),
    (r"opensource\.org/licenses?/apache-2\.0(\.php)?", "Apache-2.0"),
    (r"(opensource\.org/licenses?/mit(-license)?(\.php|\.html)?|mit-license\.org)", "MIT"),
    (r"opensource\.org/licenses?/bsd-2-clause(\.php)?", "BSD-2-Clause"),
    (r"opensource\.org/licenses?/bsd-3-clause(\.php)?", "BSD-3-Clause"),
    (r"opensource\.org/licenses?/isc(-license\.txt)?", "ISC"),
    (r"unlicense\.org", "Unlicense"),
    (r"opendatacommons\.org/licenses/by/(1-0|1\.0|summary)", "ODC-By-1.0"),
)
_ADDRESS = re.compile(r"^(?:https?:)?//(?:www\.)?(?P<rest>\S+?)/?(?:[?#]\S*)?$")
_CC_ADDRESS = re.compile(
    r"creativecommons\.org/licen[sc]es/(?P<terms>by(?:-nc)?(?:-nd|-sa)?|by-(?:nd|sa)-nc)/(?P<version>\d\.\d)"
    r"(?:/(?P<land>[a-z]{2,3}|igo|scotland))?(?:/(?:deed|legalcode)(?:[._-][\w-]+)?)?"
)
_SPDX_ADDRESS = re.compile(r"spdx\.org/licenses/(?P<name>[\w.+-]+?)(?:\.html|\.json)?")
_CC_WORDS = (
    (r"creative[\s-]commons", " cc "),
    (r"non[\s-]?commercial", " nc "),
    (r"no[\s-]?deriv(?:ative|ate|)s?(?:\s+works)?", " nd "),
    (r"share[\s-]?alike", " sa "),
    (r"attribution", " by "),
    (r"\b(?:this|work|page|article|paper|text|is|are|licen[sc]ed|under|the|a|terms|of|public|licen[sc]e|universal"
     r"|international|unported|generic)\b", " "),
)  # fmt: skip
_CC_NAMES = [
    f"CC-BY{terms}-{version}"
    for terms in ("", "-SA", "-ND", "-NC", "-NC-SA", "-NC-ND")
    for version in ("2.0", "3.0", "4.0")
]
_UNRECOGNISED = re.compile(r"unrecognised \(.+\)")
_CC_NAME = re.compile(r"^(?:cc )?by((?: nc| nd| sa)*) v?(\d\.\d)(?: cc by((?: nc| nd| sa)*) v?(\d\.\d))?$")


def spdx_name(text_or_url: str) -> str:
    """SPDX's name of a licence. What is not known comes back as it is, without white space around it.

    A Creative Commons name is read as a whole: a word more or less than its own and it is not known.
    """
    text = " ".join(text_or_url.split())
    if address := _ADDRESS.match(text.lower()):
        return _by_address(address["rest"]) or text
    short = re.sub(r"\b(the|licen[sc]e|legal code|deed)\b|,", " ", text.lower())
    name = " ".join(short.split()).strip(" .")
    return _NAMES.get(text.lower()) or _NAMES.get(name) or _creative_commons(text) or text


def unknown_name(name: str) -> str:
    """Why a name stands for no licence, with the nearest names that do; "" where it is known to SPDX or to us."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    known = spdx_name(name)
    if known in _NAMES.values() or known in dict(_ADDRESSES).values() or _UNRECOGNISED.fullmatch(name):
        return ""
    try:
        if " " not in canonicalize_license_expression(known):  # an expression of several is no name
            return ""
    except InvalidLicenseExpression:
        pass
    spellings = {near.lower(): near for near in (*_NAMES.values(), *_CC_NAMES)}
    near = [spellings[found] for found in get_close_matches(name.lower(), spellings)]
    return f"{name!r} is no name of SPDX's" + (
        f"; the nearest are {', '.join(near)}" if near else ", such as CC-BY-4.0"
    )


def _by_address(address: str) -> str:
    if found := _CC_ADDRESS.fullmatch(address):
        land = f"-{found['land']}" if found["land"] else ""
        return f"CC-{found['terms']}-{found['version']}{land}".upper()
    if found := _SPDX_ADDRESS.fullmatch(address):
        return spdx_name(found["name"])
    stem = re.sub(r"/(deed|legalcode)([._-][\w-]+)?$", "", address)
    return next((name for pattern, name in _ADDRESSES if re.fullmatch(pattern, stem)), "")


def _creative_commons(text: str) -> str:
    words = text.lower()
    for pattern, short in _CC_WORDS:
        words = re.sub(pattern, short, words)
    found = _CC_NAME.match(" ".join(re.sub(r"[\s()/,_-]+|\.(?!\d)", " ", words).split()))
    if not found or (found[4] and (found[3], found[4]) != (found[1], found[2])):
        return ""
    terms = set(found[1].split())
    if {"nd", "sa"} <= terms:
        return ""
    return "-".join(["CC-BY", *(term.upper() for term in ("nc", "nd", "sa") if term in terms), found[2]])


# The whole name is that of a licence: "license-plate-recognition.md" and "copying-mechanisms.md" are documents.
_OF_WHAT = (
    r"mit|apache|bsd|isc|cc|cc0|by|nc|sa|nd|[al]?gpl|lesser|mpl|epl|odc|ofl|unlicen[cs]e|zlib|clause|v?\d[\d.]*\d|v?\d"
    r"|docs?|documentation|content|text|prose|data|code|samples?|samplecode|software|third|party|vendor|fonts?|summary"
)
_FILE = re.compile(
    rf"((?i:licen[cs]e)|(?i:copying)|(?i:notice))((?i:[-_. ](?:{_OF_WHAT}))*|(?<=LICEN[CS]E)(?:[-_.][A-Z0-9]+)+)"
    r"(?i:\.(?:md|markdown|mdx|txt|rst|html?|pdf|tex))?"
)
_OF_OTHERS = re.compile(r"^notice|code|sample|software|third|vendor|font|summary", re.I)
_OF_PROSE = re.compile(r"doc|content|text|prose|cc", re.I)
HEAD = 3000  # characters of a licence's text, white space collapsed, in which its name and what is added to it stand
_RESTRICTION = re.compile(
    r"non-? ?commercial|\bnot? (?:for |be used for |used for )?(?:any )?commercial|all rights reserved"
    r"|(?:research|academic|educational|personal) (?:use|purposes?) only|\bwith NC\b"
    r"|only for (?:research|academic|personal)", re.I
)  # fmt: skip
# In the texts of the Unlicense, and above those of BSD and MIT.
_OPEN_WORDS = re.compile(
    r"commercial or non-?commercial|copyright (?:\(c\)|©|\d{4}).{0,120}?all rights reserved", re.I
)  # fmt: skip
_CC_TITLE = re.compile(
    r"(?:^\W{0,20}|(?<!not )(?<!not a )(?<!not the )\bCreative Commons\W{1,3})"
    r"(Attribution(?:-Non-?Commercial)?(?:-Share-?Alike|-No-?Deriv(?:ative|)s)?)\s+(\d\.\d)"
    r"\s+(?:International|Unported|Generic)\b(?! is not)", re.I
)  # fmt: skip
_GNU = re.compile(r"GNU (AFFERO |LESSER )?GENERAL PUBLIC LICENSE\s+Version (\d(?:\.\d)?)", re.I)


def is_licence_file(path: Path) -> bool:
    """Whether a file is a licence by its name, and no document."""
    return bool(_FILE.fullmatch(path.name))


def folder_licence(path: Path, root: Path) -> str:
    """SPDX's name of the licence in the nearest LICENSE file from a file's folder up to `root`; "" without one.

    A file that is not recognised, or cannot be read, counts too: `unrecognised (LICENSE)` is a licence on no list
    unless it is named there in these words.
    """
    for folder in path.parents:
        if (found := _licence_in(folder)) is not None:
            return found
        if folder == root:
            break
    return ""


@lru_cache(maxsize=4096)
def _licence_in(folder: Path) -> str | None:
    """Of a folder by its own LICENSE file, that for prose before that for code. None without one."""
    try:
        files = [file for file in folder.iterdir() if is_licence_file(file) and file.is_file()]
    except OSError:  # a folder that cannot be listed shows no licence, but files in it may still be read
        return None
    files = [file for file in files if not _OF_OTHERS.search(file.name)]  # a NOTICE adds to a licence and is none
    if not files:
        return None
    file = min(files, key=lambda file: (not _OF_PROSE.search(file.name[7:]), len(file.name), file.name))
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            found = _licence_of_text(lines.read(50_000))
    except OSError:  # there is a licence, and nobody can tell which
        found = ""
    return found or f"unrecognised ({file.name})"


def _licence_of_text(text: str) -> str:
    words = " ".join(text.split())
    found = _stated_in(words)
    return "" if not re.search("-N[CD]", found) and _restricted(words) else found


def _stated_in(words: str) -> str:
    if titles := {spdx_name(f"{found[1]} {found[2]}") for found in _CC_TITLE.finditer(words[:HEAD])}:
        return titles.pop() if len(titles) == 1 else ""
    if found := _GNU.search(words[:1000]):
        kind = {"": "GPL", "affero ": "AGPL", "lesser ": "LGPL"}[(found[1] or "").lower()]
        return f"{kind}-{found[2] if '.' in found[2] else found[2] + '.0'}-only"
    known = spdx_name(words[:300])
    if known in _NAMES.values() or re.fullmatch(r"CC-BY(-[A-Z]{2})*-\d\.\d(-[A-Z]+)?", known):
        return known
    return next((name for name, marks in _TEXTS if all(mark in words for mark in marks)), "")


def _restricted(words: str) -> bool:
    """Whether words that no text of an open licence has stand in its head, or the Commons Clause anywhere."""
    head = _OPEN_WORDS.sub(" ", words[:HEAD])
    modified = re.search(r"\bmodified\b(?! bsd)", words[:300], re.I)
    return bool(modified or _RESTRICTION.search(head) or re.search("Commons Clause", words, re.I))


_TEXTS = (  # name: what its text holds, the longer text of two alike first
    ("Apache-2.0", ("Apache License", "Version 2.0")),
    ("CC0-1.0", ("CC0 1.0 Universal",)),
    ("MIT", ("Permission is hereby granted, free of charge", "without restriction", "permission notice shall be")),
    ("MIT-0", ("Permission is hereby granted, free of charge", "without restriction")),
    ("BSD-3-Clause", ("Redistribution and use in source and binary forms", "Neither the name")),
    ("BSD-2-Clause", ("Redistribution and use in source and binary forms",)),
    ("ISC", ("Permission to use, copy, modify, and/or distribute this software for any purpose",)),
    ("Unlicense", ("This is free and unencumbered software released into the public domain",)),
)
