"""Names of repositories and of their files: what is read, what is picked, and what is refused."""

from __future__ import annotations

import pytest

from qa.artifacts import ArtifactError, Reference, Repositories, parse_reference, pick_gguf


def test_references_are_read_and_refused() -> None:
    assert parse_reference("a/b-GGUF") == Reference("a/b-GGUF")
    assert parse_reference(" a/b@v1.0:q4/x-q4_k_m.gguf ") == Reference("a/b", "v1.0", "q4/x-q4_k_m.gguf")
    assert str(Reference("a/b", "v1", "x.gguf")) == "a/b@v1:x.gguf"
    for text in ("", "a", "a/b/c", "../b", "a/b@", "a/b:x.bin", "https://a/b", "a/b@r e"):
        with pytest.raises(ArtifactError, match="FOOTNOTE_BASE"):
            parse_reference(text, variable="FOOTNOTE_BASE")


def test_the_one_four_bit_file_is_picked() -> None:
    assert pick_gguf(["README.md", "x-f16.gguf", "x-Q4_K_M.gguf"]) == "x-Q4_K_M.gguf"
    assert pick_gguf(["only-q8_0.gguf"]) == "only-q8_0.gguf"
    split = ["x-q4_k_m-00001-of-00002.gguf", "x-q4_k_m-00002-of-00002.gguf", "x-q4_k_m.gguf"]
    assert pick_gguf(split) == "x-q4_k_m.gguf"
    with pytest.raises(ArtifactError, match=r"x-f16\.gguf, x-q8_0\.gguf"):
        pick_gguf(["x-q8_0.gguf", "x-f16.gguf"])


def test_names_of_a_run() -> None:
    names = Repositories("me", "footnote")
    assert [names.dataset, names.index, names.base, names.base_gguf, names.adapter, names.merged, names.gguf] == [
        "me/footnote-qa",
        "me/footnote-index",
        "me/footnote-base",
        "me/footnote-base-GGUF",
        "me/footnote-lora",
        "me/footnote-merged",
        "me/footnote-GGUF",
    ]
