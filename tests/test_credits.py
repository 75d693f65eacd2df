"""What is shown of the models as they come: how far each is, and whose it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from qa.artifacts import Reference
from space import credits, views
from space.models import Part


def test_the_loading_panel_tells_bytes_and_share() -> None:
    part = Part("Fine-tuned model", Reference("a/b"), "FOOTNOTE_MODEL", "downloading", 482_500_000, 1_930_000_000)
    assert 'value="482500000"' in views.loading([part])
    assert "25 %" in views.loading([part])
    broken = Part("Base model", Reference("a/b"), "FOOTNOTE_BASE", "failed", problem="<script>no</script>")
    assert "&lt;script&gt;no" in views.loading([part, broken])
    assert "<script>" not in views.loading([part, broken])
    assert views.loading([Part("x", Reference("a/b"), "X", "ready")]) == ""
    served = Part("x", Reference("a/b"), "X", "ready", notice="Serves revision <b>")
    assert "Serves revision &lt;b&gt;" in views.loading([served])


CARDS = {
    "---\nlicense: apache-2.0\n---\n# A model": ("apache-2.0", ""),
    "---\nlicense: other\nlicense_name: qwen-research\nlicense_link: https://a.b/c\n---\n": (
        "qwen-research",
        "https://a.b/c",
    ),
    "---\nlicense: [mit, apache-2.0]\nlicense_link: 'javascript:alert(1)'\n---\n": ("mit, apache-2.0", ""),
    "# No metadata": ("", ""),
    "---\nlicense: mit\nlicense_link: [https://a.b]\n---\n": ("mit", ""),
    "---\nlicense: 'mit\n---\n": ("not readable", ""),
    "---\n- license\n- mit\n---\n": ("not readable", ""),
    "---\nlicense: {name: mit}\n---\n": ("not readable", ""),
    "---\n\tlicense: mit\n---\n": ("not readable", ""),
    "---\nlicense: mit\nmodel-index: nonsense\n1: 2\n---\n": ("mit", ""),
    f"---\nlicense: {'[' * 5000}\n---\n": ("not readable", ""),
    "---\nlicense: m\xeft\n---\n".encode("latin-1"): ("not readable", ""),
}


@pytest.mark.parametrize(("card", "licence"), CARDS.items())
def test_whatever_a_card_says_the_model_is_credited(
    card: str | bytes, licence: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(card if isinstance(card, bytes) else card.encode())
    monkeypatch.setattr(credits, "hf_hub_download", lambda *_, **__: str(readme))
    credit = credits.credit_of("Base model", Reference("a/b"), Path("/cache/snapshots/c0ffee/x.gguf"))
    assert (credit.licence, credit.licence_link) == licence
    assert (credit.repository, credit.revision) == ("a/b", "c0ffee")
    assert views.escape(credit.licence or "see its card") in views.credits([credit])
