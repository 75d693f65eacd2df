"""Which sentences state a fact, and how it is asked for."""

from __future__ import annotations

import pytest

from jobs.sentences import sentences
from jobs.writers.facts import Fact, find_facts
from jobs.writers.wording import alike, capitalised, kind_of, normalised, question_text
from qa.records import Passage


def facts(text: str, title: str = "LoRA") -> list[tuple[str, str, str]]:
    found = find_facts(Passage(id="a#0", document="a", title=title, text=text, start=0, end=len(text)))
    return [(fact.relation, fact.subject, fact.value) for fact in found if isinstance(fact, Fact)]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (
            "LoRA was introduced by Edward Hu and colleagues in Redmond in 2021.",
            [("introduced_by", "LoRA", "Edward Hu and colleagues in Redmond"), ("year", "LoRA", "2021")],
        ),
        (
            "Microsoft introduced LoRA in 2021.",
            [("introduced_by", "LoRA", "Microsoft"), ("year", "LoRA", "2021")],
        ),
        ("LoRA is a method for cheap tuning.", [("kind", "LoRA", "method for cheap tuning")]),
        ("LoRA is an adapter method.", [("kind", "LoRA", "adapter method")]),
        ("The key idea of LoRA is to train less.", [("idea", "LoRA", "train less")]),
        ("The central idea of LoRA is to train less.", [("idea", "LoRA", "train less")]),
        ("LoRA was trained on WebText.", [("data", "LoRA", "WebText")]),
        ("LoRA was built from GPT-2.", [("data", "LoRA", "GPT-2")]),
        ("LoRA was demonstrated on GPT-3.", [("data", "LoRA", "GPT-3")]),
        ("LoRA was measured on GLUE.", [("measured_on", "LoRA", "GLUE")]),
        ("LoRA was evaluated on GLUE.", [("measured_on", "LoRA", "GLUE")]),
        ("LoRA reached 91.3 percent on MNLI.", [("result", "LoRA", "91.3 percent on MNLI")]),
        ("LoRA reported 4.7 million weights.", [("result", "LoRA", "4.7 million weights")]),
        ("LoRA does not shorten the sequence.", [("limitation", "LoRA", "shorten the sequence")]),
        ("LoRA relies on a low-rank update.", [("component", "LoRA", "a low-rank update")]),
        ("We use retrieval-augmented generation (RAG) here.", [("acronym", "RAG", "retrieval-augmented generation")]),
    ],
)
def test_every_wording_of_the_articles_is_read(sentence: str, expected: list[tuple[str, str, str]]) -> None:
    assert facts(sentence) == expected
    around = f"Something stands before it. {sentence} Something stands after it."
    assert facts(around) == expected


@pytest.mark.parametrize(
    "sentence",
    [
        "This paper was evaluated on GLUE.",
        "It was introduced by Edward Hu in 2021.",
        "The model is a large transformer network.",
        "The authors introduced LoRA.",
        "We introduced LoRA in 2021.",
        "When training ends, LoRA is a good choice.",
        "LoRA is a very popular method.",
        "LoRA relies on the method above.",
        "LoRA was measured on the tasks of this section.",
        "LoRA reached $x^2$.",
        "LoRA is a method (see the",
        "Performance is a measure of speed.",
        "A large number of words (RAG) is no acronym.",
        "Few-shot LoRA is a LoRA method.",
        "LoRA is the largest method and contains other ones.",
        "LoRA is an example for others to read.",
        "LoRA is the combination of the two.",
        "LoRA is a technique that addresses another bottleneck: memory.",
        "Weak LoRA is the dominant form of supervision.",
        "LoRA is a ceiling nobody hits in practice.",
        "LoRA is the process id of the hanging python process.",
        "LoRA is the 9.7% derived above as a share of traffic.",
        "LoRA is a per user metric.",
        "LoRA is a type of network.",
        "`(k-1)/(n-1)` = `3/31` is a share of traffic.",
        "Naive BFS is the most obvious way to perform pre-composition.",
        "NER is a fundamental step for most of the information extraction pipelines.",
        "Samoa SAMOA is a framework for data streams.",
        "Dividing the prompt-token count by TTFT does not produce throughput.",
        "LoRA therefore does not produce throughput.",
        "A large LoRA is a method for memory.",
        "A Process was introduced by Edward Hu in 2021.",
    ],
)
def test_what_does_not_stand_alone_is_refused(sentence: str) -> None:
    assert facts(sentence) == []


def test_a_common_word_is_a_subject_only_where_the_heading_names_it() -> None:
    sentence = "Knowledge distillation is a technique for smaller networks."
    assert facts(sentence, title="Knowledge Distillation") != []
    assert facts(sentence, title="Pruning") == []
    assert facts("Change is a property of languages.", title="The social dynamics of language change") == []
    assert facts("Dropout is a regularisation method.", title="Regularisation: Dropout") != []


def test_what_is_defined_may_have_an_article() -> None:
    definition = "A Markov decision process (MDP) is a model for how a system evolves."
    assert facts(definition) == [
        ("acronym", "MDP", "Markov decision process"),
        ("kind", "A Markov decision process (MDP)", "model for how a system evolves"),
    ]
    assert facts("A Unigram model is a type of language model.") == [
        ("kind", "A Unigram model", "type of language model")
    ]
    sentence = "An autoencoder is a network that copies its input."
    assert facts(sentence) == []
    assert facts(sentence, title="Autoencoders: Autoencoder") == [
        ("kind", "An autoencoder", "network that copies its input")
    ]
    asked = {question_text("kind", "A Unigram model", "", seed, choices=False) for seed in range(40)}
    assert "What is a Unigram model?" in asked


def test_a_value_ends_where_another_thing_is_told() -> None:
    assert facts("LoRA does not support versions, which is an oversight.") == [
        ("limitation", "LoRA", "support versions")
    ]
    assert facts("LoRA is an advanced framework and only functions on Linux.") == [
        ("kind", "LoRA", "advanced framework")
    ]
    assert facts("LoRA reached scores above a human expert.") == [("result", "LoRA", "scores above a human expert")]


def test_sentences_keep_their_places() -> None:
    text = (
        "A. Gu et al. showed it, e.g. on text.  word2vec came first (cf. Fig. 2). So far.The end is near.\n- last item"
    )
    found = [text[start:end] for start, end in sentences(text)]
    assert found == [
        "A. Gu et al. showed it, e.g. on text.",
        "word2vec came first (cf. Fig. 2).",
        "So far.",
        "The end is near.",
        "- last item",
    ]


def test_small_rules_of_wording() -> None:
    assert [capitalised(text) for text in ("low-rank update", "word2vec", "k-means", "a step", "GLUE", "fastText")] == [
        "Low-rank update",
        "word2vec",
        "k-means",
        "A step",
        "GLUE",
        "fastText",
    ]
    assert normalised("The Low-Rank, update!") == "low rank update"
    assert alike("a recurrent network", "recurrent network with gates")
    assert not alike("recurrent network", "convolutional network")


@pytest.mark.parametrize(
    ("relation", "value", "kind"),
    [
        ("year", "2021", "number"),
        ("result", "91.3 percent on MNLI", "number"),
        ("result", "about 3 points more", "number"),
        ("result", "better scores than BERT", "comparison"),
        ("result", "human parity in 2015", "fact"),
        ("idea", "train less", "method"),
        ("component", "a low-rank update", "method"),
        ("data", "WebText", "method"),
        ("measured_on", "GLUE", "method"),
        ("limitation", "shorten the sequence", "limitation"),
        ("introduced_by", "Microsoft", "fact"),
        ("kind", "adapter method", "fact"),
        ("acronym", "low-rank adaptation", "fact"),
    ],
)
def test_each_fact_has_a_kind_of_question(relation: str, value: str, kind: str) -> None:
    assert kind_of(relation, value) == kind


def test_a_name_with_an_article_is_written_small_within_a_question() -> None:
    asked = {question_text("kind", "The GMF", "", seed, choices=False) for seed in range(40)}
    assert asked == {
        "What is the GMF?",
        "What kind of thing is the GMF?",
        "Which description fits the GMF?",
        "How can the GMF be described?",
    }
