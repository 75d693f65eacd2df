"""The language of a text, formulas and code aside."""

from __future__ import annotations

import pytest

from jobs.language import known_languages, language_of

TEXTS = {
    "en": "We study how large language models learn from few examples, and what they forget when they learn more.",
    "de": "Wir untersuchen, wie große Sprachmodelle aus wenigen Beispielen lernen und was sie dabei vergessen.",
    "fr": "Nous étudions comment les grands modèles de langue apprennent à partir de quelques exemples.",
    "es": "Estudiamos cómo los grandes modelos de lenguaje aprenden de unos pocos ejemplos y qué olvidan.",
    "zh": "我们研究大型语言模型如何从少量示例中学习。",
}
FORMULAS = (
    r" $\mathbf{x}_i \in \mathbb{R}^d$ \begin{equation} y = W x + b \end{equation} `import numpy` https://a.de/b "
)


@pytest.mark.parametrize("language", TEXTS)
def test_languages_with_formulas_between(language: str) -> None:
    assert language_of(TEXTS[language]) == language
    assert language_of(FORMULAS * 20 + TEXTS[language]) == language


@pytest.mark.parametrize("text", ["", "$x$", FORMULAS, "12 34"])
def test_nothing_to_tell_a_language_by(text: str) -> None:
    assert language_of(text) == ""


def test_languages_that_can_be_told() -> None:
    assert {"en", "de", "fr", "zh"} < known_languages()
    assert "xx" not in known_languages()
