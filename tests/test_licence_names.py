"""Names of licences: every common spelling comes out under SPDX's name, and no restriction is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.data_config import OPEN_LICENCES
from jobs.licence_names import folder_licence, is_licence_file, spdx_name, unknown_name

KNOWN = {
    "CC-BY-4.0": (
        "http://creativecommons.org/licenses/by/4.0/",
        "https://creativecommons.org/licenses/by/4.0/deed.en",
        "https://creativecommons.org/licenses/by/4.0/legalcode",
        "//creativecommons.org/licenses/by/4.0",
        "CC BY 4.0",
        "cc-by-4.0",
        "CC-BY-4.0",
        "Creative Commons Attribution 4.0 International",
        "Creative Commons Attribution 4.0 International License (CC BY 4.0)",
        "This work is licensed under a Creative Commons Attribution 4.0 International License.",
    ),
    "CC-BY-SA-4.0": ("Creative Commons Attribution-ShareAlike 4.0 International", "cc by-sa 4.0"),
    "CC-BY-NC-4.0": ("https://creativecommons.org/licenses/by-nc/4.0/", "CC BY-NC 4.0"),
    "CC-BY-NC-SA-4.0": ("cc-by-nc-sa-4.0", "Attribution-NonCommercial-ShareAlike 4.0 International"),
    "CC-BY-NC-ND-4.0": ("Creative Commons Attribution-NonCommercial-NoDerivatives 4.0 International License",),
    "CC-BY-ND-4.0": ("http://creativecommons.org/licenses/by-nd/4.0/deed.de",),
    "CC-BY-3.0-US": ("http://creativecommons.org/licenses/by/3.0/us/",),
    "CC0-1.0": ("CC0", "http://creativecommons.org/publicdomain/zero/1.0/", "CC0 1.0 Universal"),
    "public-domain": ("Public Domain", "https://creativecommons.org/publicdomain/mark/1.0/", "public-domain"),
    "arXiv-nonexclusive-distrib-1.0": ("http://arxiv.org/licenses/nonexclusive-distrib/1.0/",),
    "arXiv-assumed-1991-2003": ("http://arxiv.org/licenses/assumed-1991-2003/",),
    "MIT": ("mit", "MIT License", "The MIT License", "https://opensource.org/licenses/MIT"),
    "Apache-2.0": (
        "apache-2.0",
        "Apache License, Version 2.0",
        "http://www.apache.org/licenses/LICENSE-2.0",
        "https://www.apache.org/licenses/LICENSE-2.0.html",
        "https://spdx.org/licenses/Apache-2.0.html",
    ),
    "BSD-3-Clause": ("bsd-3-clause", "BSD 3-Clause License", "https://opensource.org/licenses/BSD-3-Clause"),
    "ODC-By-1.0": ("odc-by", "https://opendatacommons.org/licenses/by/1-0/"),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in KNOWN.items() for text in texts])
def test_spellings(name: str, text: str) -> None:
    assert spdx_name(f"  {text} ") == name


@pytest.mark.parametrize(
    "text",
    [
        "CC BY 4.0 (non-commercial use only)",
        "CC BY 4.0, images CC BY-NC 4.0",
        "CC BY-NC 4.0 (CC BY 4.0)",
        "CC BY",
        "https://creativecommons.org/licenses/by/4.0/evil/by-nc",
        "https://creativecommons.org.example.org/licenses/by/4.0/",
        "https://example.org/creativecommons.org/licenses/by/4.0/",
        "All rights reserved",
        "not MIT",
        "CC-BY-4.0 and CC-BY-NC-4.0",
        "",
    ],
)
def test_what_is_not_known_comes_back_as_it_is(text: str) -> None:
    assert spdx_name(f" {text}\n") == text


@pytest.mark.parametrize(
    "name",
    [*KNOWN, *OPEN_LICENCES, "cc-by-nc-4.0", "MIT License", "GPL-3.0-only", "MPL-2.0", "unrecognised (LICENSE)"],
)
def test_names_of_licences(name: str) -> None:
    assert unknown_name(name) == ""


def test_the_nearest_names_of_what_is_none() -> None:
    assert unknown_name("CC-BY-NC") == (
        "'CC-BY-NC' is no name of SPDX's; the nearest are CC-BY-NC-4.0, CC-BY-NC-3.0, CC-BY-NC-2.0"
    )
    assert "the nearest are Apache-2.0" in unknown_name("Apach-2")
    for name in ("", "nonsense of mine", "MIT OR Apache-2.0"):
        assert unknown_name(name).startswith(f"{name!r} is no name of SPDX's"), name


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


MIT = (
    "MIT License\n\nCopyright (c) 2020 A\n\nPermission is hereby granted, free of charge, to any person to deal "
    "without restriction. The above copyright notice and this\npermission notice shall be included in all copies."
)


def test_the_nearest_file_counts_and_nothing_above_the_root(tmp_path: Path) -> None:
    write(tmp_path / "LICENSE", "Apache License\nVersion 2.0, January 2004")
    document = write(tmp_path / "root" / "a" / "b" / "text.md", "text")
    assert folder_licence(document, tmp_path / "root") == ""
    write(tmp_path / "other" / "LICENSE.txt", MIT)
    write(tmp_path / "other" / "a" / "COPYING", "Attribution-NonCommercial 4.0 International\n\n=====")
    assert folder_licence(tmp_path / "other" / "a" / "b.md", tmp_path / "other") == "CC-BY-NC-4.0"
    assert folder_licence(tmp_path / "other" / "c" / "b.md", tmp_path / "other") == "MIT"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (MIT, "MIT"),
        (MIT + " Commons Clause applies.", ""),
        ("                    GNU GENERAL PUBLIC LICENSE\n          Version 3, 29 June 2007", "GPL-3.0-only"),
        ("Creative Commons Legal Code\n\nCC0 1.0 Universal", "CC0-1.0"),
        ("Redistribution and use in source and binary forms ... Neither the name of", "BSD-3-Clause"),
        ("Redistribution and use in source and binary forms, with or without", "BSD-2-Clause"),
        ("CC-BY-SA-4.0\n", "CC-BY-SA-4.0"),
        ("Ask me before you use this.", ""),
        (MIT.replace("License", "License, non-commercial use only", 1), ""),
        ("Redistribution and use in source and binary forms for non-commercial purposes only", ""),
        ("Apache License Version 2.0 modified: not commercial", ""),
        (MIT.replace("MIT License", "Modified MIT License"), ""),
        (MIT + " All rights reserved.", ""),
        (MIT.replace("2020 A", "2020 A, Inc. All rights reserved."), "MIT"),
        ("Modified BSD License", "BSD-3-Clause"),
        (
            "This is free and unencumbered software released into the public domain. Anyone is free to use it, for any "
            "purpose, commercial or non-commercial, and by any means.",
            "Unlicense",
        ),
        ("This work is not Attribution 4.0 International", ""),
        ("Attribution-ShareAlike-NonCommercial 4.0 International Attribution-ShareAlike 4.0 International", ""),
        ("Text: Creative Commons Attribution 4.0 International. Rest: Creative Commons Attribution 3.0 Unported", ""),
        ("# Title\n\nThis is licensed under a Creative Commons Attribution 4.0 International License.", "CC-BY-4.0"),
    ],
)
def test_licences_by_their_text(tmp_path: Path, text: str, name: str) -> None:
    write(tmp_path / "LICENCE", text)
    assert folder_licence(tmp_path / "a.md", tmp_path) == (name or "unrecognised (LICENCE)")


def test_a_licence_of_prose_goes_before_that_of_code(tmp_path: Path) -> None:
    write(tmp_path / "LICENSE", "Attribution-ShareAlike 4.0 International")
    write(tmp_path / "LICENSE-SAMPLECODE", MIT)
    assert folder_licence(tmp_path / "a.md", tmp_path) == "CC-BY-SA-4.0"
    write(tmp_path / "two" / "LICENSE", MIT)
    write(tmp_path / "two" / "LICENSE-docs", "Attribution 4.0 International")
    assert folder_licence(tmp_path / "two" / "a.md", tmp_path) == "CC-BY-4.0"


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("LICENSE", True), ("licence.md", True), ("COPYING.LESSER", True), ("NOTICE.txt", True),
        ("LICENSE-CC-BY-SA-4.0.txt", True), ("LICENSE-SAMPLECODE", True), ("license_docs.md", True),
        ("license-plate-recognition.md", False), ("copying-mechanisms.md", False), ("notices-of-errors.md", False),
        ("licensed.md", False), ("LICENSE.py", False),
    ],
)  # fmt: skip
def test_a_licence_by_its_whole_name(name: str, licence: bool) -> None:
    assert is_licence_file(Path("docs", name)) is licence


def test_a_document_with_such_a_name_hides_no_licence(tmp_path: Path) -> None:
    write(tmp_path / "LICENSE", MIT)
    write(tmp_path / "docs" / "license-plates.md", "text")
    write(tmp_path / "docs" / "NOTICE", "text")
    assert folder_licence(tmp_path / "docs" / "a.md", tmp_path) == "MIT"


def test_a_licence_that_cannot_be_read_is_not_recognised(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "LICENSE", MIT)

    def refuse(*args: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert folder_licence(tmp_path / "a.md", tmp_path) == "unrecognised (LICENSE)"


def test_real_corpus(shared_data: Path) -> None:
    root = shared_data / "corpus"
    found = {folder.name: folder_licence(folder / "a.md", root) for folder in root.iterdir() if folder.is_dir()}
    assert found == {
        "d2l-en": "CC-BY-SA-4.0",
        "distill-gnn-intro": "Apache-2.0",
        "hf-course": "Apache-2.0",
        "hf-deep-rl-class": "Apache-2.0",
        "ml-engineering": "CC-BY-SA-4.0",
        "ml-glossary": "MIT",
        "nlp-papers": "",
        "prompt-engineering-guide": "MIT",
        "spinningup": "MIT",
    }
