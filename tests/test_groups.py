"""Groups of documents: versions, titles, near-duplicates and companions together, and nothing else."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import pytest

from jobs.documents import DocumentText
from jobs.groups import group_documents

WORDS = [f"{start}{end}" for start in "ba ce di fo gu hy ja ke li mo".split() for end in "ra se ti vo nu xy".split()]


def prose(seed: int, count: int = 400) -> str:
    chance = random.Random(seed)
    return " ".join(chance.choice(WORDS) + chance.choice(WORDS) for _ in range(count))


def changed(text: str, share: float, seed: int) -> str:
    chance, words = random.Random(seed), text.split()
    for place in chance.sample(range(len(words)), round(share * len(words))):
        words[place] = f"other{place}"
    return " ".join(words)


def document(name: str, text: str = "", title: str = "", source: str = "") -> DocumentText:
    text = text or prose(sum(map(ord, name)))
    return DocumentText(document=name, title=title or name, format="plain", text=text, source=source)


def together(documents: Sequence[DocumentText]) -> set[frozenset[str]]:
    """The groups of more than one document, after a look at their names and at another order."""
    groups = group_documents(documents)
    assert group_documents(random.Random(3).sample(documents, len(documents))) == groups
    members = defaultdict(set)
    for name, group in groups.items():
        members[group].add(name)
    assert all(group == min(names) for group, names in members.items())
    assert set(groups) == {document.document for document in documents}
    return {frozenset(names) for names in members.values() if len(names) > 1}


def test_versions_of_one_paper() -> None:
    documents = [
        document("arxiv:2106.09685v1"),
        document("arxiv:2106.09685v2"),
        document("papers/2106.09685v3.pdf"),
        document("lora.html", source="https://arxiv.org/abs/2106.09685"),
        document("arxiv:cs/0112017"),
        document("old.tex", source="https://arxiv.org/pdf/cs/0112017v1"),
        document("arxiv:2106.09686"),
        document("release-3.2106.09685x.md"),
    ]
    assert together(documents) == {
        frozenset(one.document for one in documents[:4]),
        frozenset({"arxiv:cs/0112017", "old.tex"}),
    }


def test_one_title_of_three_words_or_more() -> None:
    documents = [
        document("a", title="Scaling Laws, Revisited"),
        document("b", title="scaling laws revisited"),
        document("c", title="Related Work"),
        document("d", title="Related work"),
    ]
    assert together(documents) == {frozenset("ab")}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05])
def test_texts_that_are_nearly_the_same(share: float) -> None:
    text = prose(1)
    documents = [document("a", text), document("b", changed(text, share, 2)), document("c", prose(3))]
    assert together(documents) == {frozenset("ab")}


def test_texts_that_share_a_third_are_apart() -> None:
    shared = prose(1, 130)
    documents = [document("a", f"{shared} {prose(2, 270)}"), document("b", f"{shared} {prose(3, 270)}")]
    assert together(documents) == set()


@pytest.mark.parametrize("seed", range(10))
def test_an_extended_version_is_with_the_one_that_it_extends(seed: int) -> None:
    short = prose(seed, 300)
    documents = [document("short", short), document("long", f"{prose(seed + 50, 500)} {changed(short, 0.02, seed)}")]
    assert together(documents) == {frozenset({"short", "long"})}


def test_companion_posts() -> None:
    documents = [
        document("arxiv:2106.09685", title="Low-Rank Adaptation of Large Language Models"),
        document("post-1", f"We explain arXiv:2106.09685 today. {prose(1)}"),
        document("post-2", f"A tour of “Low-Rank Adaptation of Large Language Models”. {prose(2)}"),
        document("post-3", source="https://blog.example/low-rank-adaptation-of-large-language-models"),
        document("late", f"{prose(3)} arXiv:2106.09685"),
        document("term", f"We use low-rank adaptation of language models. {prose(4)}"),
    ]
    assert together(documents) == {frozenset({"arxiv:2106.09685", "post-1", "post-2", "post-3"})}


def test_a_long_title_is_named_whatever_its_case_and_a_short_one_by_itself() -> None:
    documents = [
        document("paper", title="LoRA: Low-Rank Adaptation of Large Language Models"),
        document("post", f"LoRA - Low-rank adaptation of large language models, explained. {prose(1)}"),
        document("part", title="Understanding Training Loss Patterns"),
        document("index", f"Parts:\n\n- Understanding Training Loss Patterns - spikes and others. {prose(2)}"),
        document("hub", title="The Great Model Hub"),
        document("chapter", f"The Great Model Hub is not limited to models. {prose(3)}"),
        document("mdp", title="Markov Decision Process (MDP)"),
        document("agent", f"It acts in:\n\nMarkov Decision Process (MDP)\n\n{prose(4)}"),
        document("bert", title="Bidirectional Encoder Representations from Transformers (BERT)"),
        document("facts", f"We use Bidirectional Encoder Representations from Transformers (BERT). {prose(5)}"),
    ]
    assert together(documents) == {frozenset({"paper", "post"}), frozenset({"part", "index"})}


def test_a_survey_is_no_companion_and_does_not_join_its_papers() -> None:
    papers = [document(f"arxiv:2106.0000{number}") for number in range(5)]
    survey = document("survey", f"We read {', '.join(paper.document for paper in papers)}. {prose(9)}")
    assert together([*papers, survey]) == set()
    assert together([*papers[:2], document("post", f"On arXiv:2106.00000 and arXiv:2106.00001. {prose(9)}")]) == {
        frozenset({"arxiv:2106.00000", "arxiv:2106.00001", "post"})
    }


def test_a_title_that_many_name_is_a_term() -> None:
    documents = [document("hub", title="The Great Model Hub")]
    documents += [document(f"{number}", f"Read “The Great Model Hub”. {prose(number)}") for number in range(5)]
    assert together(documents) == set()
    assert together(documents[:3]) == {frozenset({"hub", "0", "1"})}


def test_chains_are_one_group_and_few_documents_are_no_trouble() -> None:
    text = prose(1)
    documents = [
        document("c", text),
        document("a", text, title="One of the Titles"),
        document("b", title="one of the titles"),
    ]
    assert together(documents) == {frozenset("abc")}
    assert group_documents([]) == {}
    assert group_documents([document("a", "!")]) == {"a": "a"}
    assert together([document("a", "!"), document("b", "?"), document("c", "")]) == set()
