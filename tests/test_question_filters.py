"""Checks of one question against its passage: evidence, terms, standing alone, metadata trivia."""

from __future__ import annotations

import pytest

from jobs.question_filters.alone import check_alone
from jobs.question_filters.evidence import check_evidence
from jobs.question_filters.refused import RefusedError
from jobs.question_filters.terms import check_terms, named_terms, numbers
from jobs.question_filters.trivia import check_trivia
from qa.prompts import NOT_FOUND
from qa.records import Passage, Question

TEXT = (
    "LoRA was introduced by Edward Hu\n  at Microsoft. It trains 0.01% of 175,000,000,000 weights, three times faster."
)


def passage(text: str = TEXT, title: str = "Low-Rank Adaptation", section: str = "") -> Passage:
    return Passage(id="p#0", document="p", title=title, section=section, text=text, start=0, end=len(text))


def asked(
    text: str = "Who introduced LoRA?", answer: str = "Edward Hu.", evidence: str = TEXT, **more: object
) -> Question:
    return Question(id="q", question=text, answer_text=answer, evidence=evidence, document="p", passage="p#0", **more)


def test_evidence_becomes_the_span_of_the_passage() -> None:
    given = asked(evidence="introduced by  Edward Hu at Microsoft.")
    assert check_evidence(given, passage()).evidence == "introduced by Edward Hu\n  at Microsoft."


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        ("LoRA was invented by Edward Hu", "not in the passage"),
        ("lora was introduced by Edward Hu", "not in the passage"),
        ("introduced by Edward", "shorter than 4 words"),
        ("", "shorter than 4 words"),
        ("175 of the weights", "not in the passage"),  # of 0.175
        ("0.175 of the weight", "not in the passage"),
        ("linear maps gain -12", "not in the passage"),  # of -12.5
        ("maps gain -12.5", "shorter than 4 words"),
        ("12.5 points on GLUE", "not in the passage"),  # of -12.5
        ("linear maps gain -12.5", "not in the passage"),  # of non-linear
        ("One is here. Two is here. Three is here. Four is here.", "longer than 3 sentences"),
        (f"{'word ' * 130}", "longer than .* 600 characters"),
    ],
)
def test_evidence_that_is_not_there_is_refused(evidence: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        check_evidence(
            asked(evidence=evidence),
            passage(f"{TEXT} 0.175 of the weights and non-linear maps gain -12.5 points on GLUE."),
        )


@pytest.mark.parametrize(
    ("text", "evidence", "span"),
    [
        (
            "So: it reads <cls> and </s> first. Then more.",
            "it reads < cls> and < /s> first.",
            "it reads <cls> and </s> first.",
        ),
        (
            "A <<< b\u200bar <|im_end|> is \u00adread as text.",
            "bar < |im_end| > is read",
            "b\u200bar <|im_end|> is \u00adread",
        ),
        ("No <cls> at all, then a <cls> token.", "then a < cls> token.", "then a <cls> token."),
    ],
)
def test_evidence_as_a_teacher_is_shown_it_becomes_the_span_too(text: str, evidence: str, span: str) -> None:
    assert evidence not in text
    assert check_evidence(asked(evidence=evidence), passage(text)).evidence == span


def test_what_the_text_does_not_answer_has_no_evidence() -> None:
    absent = asked("In which year was LoRA introduced?", NOT_FOUND, "", kind="not_in_text")
    assert check_evidence(absent, passage()) == absent
    assert check_terms(absent, passage()) == absent
    with pytest.raises(RefusedError, match="comes with evidence"):
        check_evidence(absent.model_copy(update={"evidence": TEXT}), passage())


@pytest.mark.parametrize(
    ("answer", "evidence"),
    [
        ("175000000000 weights", TEXT),
        ("0.010 %", TEXT),
        ("3× faster", TEXT),
        ("Three times", TEXT),
        ("3", TEXT),
        ("By 3 times; 0.01 %.", TEXT),
        ("A low-rank adaptation", "anything at all here"),  # the title has it
        ("Fine tuning of BERT and RoBERTa", "BERT/RoBERTa by finetuning"),
        ("Finetuning with QLoRA", "QLORA is fine-tuning"),
        ("LLMs", "a large language model (LLM)"),
        ("GPT‑3", "compared with GPT-3."),
        ("Google's network", "by Google for this"),
        ("Erdős–Rényi graphs", "an Erdos-Renyi graph"),
        ("The method of Hu", "by Edward Hu"),
        ("It needs one pass", "a single pass"),
        ("Attention", "a softmax over keys"),  # opens the answer: may be an ordinary word
        ("$10^{-4}$", "a rate of $10^{-4}$"),
        ("In the 1990s", "since the 1990s"),
        ("By \u221212.5 points", "a change of -12.5 points"),
        ("176 million images", "176,000,000 images"),
        ("Two thousand", "2,000 items"),
        ("10k steps", "10 thousand steps"),
        ("12 groups", "12 k-means groups"),
        ("5\tmillion", "5 million"),
        ("84.2 %", "an accuracy of 84.2"),
        ("12.5 percent", "12.5\\% of them"),
        ("3 points", "gains 3.0 percentage points"),
        ("GPT-4/BERT", "both BERT and GPT-4 do"),
    ],
)
def test_terms_that_the_evidence_holds_pass(answer: str, evidence: str) -> None:
    question = asked("What is it?", answer, evidence)
    assert check_terms(question, passage()) == question


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ("9 times", "9"),
        ("0.1 %", "0.1 %"),
        ("1,750 weights", "1750"),
        ("Five times", "5"),
        ("In 2021", "2021"),
        ("By Edward Hua", "Hua"),
        ("Elizabeth Hu", "Elizabeth"),
        ("GPT-5", "GPT-5"),
        ("QLoRA", "QLoRA"),
        ("a 7B model", "7B"),
        ("word2vec", "word2vec"),
        ("It was made by Google", "Google"),
        ("176 billion", "176000000000"),
        ("-0.01 of them", "-0.01"),
        ("0.01 points", "0.01 points"),
        ("175 thousand", "175000"),
        ("GPT-4", "GPT-4"),
        ("LoRA/GPT-4", "LoRA/GPT-4"),
        ("BERT-LoRA", "BERT-LoRA"),
        ("LoRA-2", "LoRA-2"),
    ],
)
def test_terms_that_the_evidence_lacks_are_named(answer: str, missing: str) -> None:
    evidence = f"{TEXT} GPT-3 has 4 sizes, 176 million images. BERT has LoRA-2.5."
    with pytest.raises(RefusedError, match=rf"{missing} of the answer is not in the evidence"):
        check_terms(asked(answer=answer, evidence=evidence), passage(title="LoRA"))


def test_numbers_and_names_are_read_off_a_text() -> None:
    text = "GPT-3 has 175,000 layers, 0.50 of 2x, 1e3 and 7B; twelve in 2020, 3.5%, 10-20 or -2 points, two million."
    values = [number for number, _ in numbers(text)]
    assert values == ["175000", "0.5", "2", "2020", "3.5", "10", "20", "-2", "12", "2000000"]
    assert {number: unit for number, unit in numbers(text) if unit} == {"3.5": "%", "-2": "points"}
    assert named_terms("Edward Hu met BERT. Later the U-Net of 4-bit Swin and I") == [
        "Edward",
        "Hu",
        "BERT",
        "U-Net",
        "Swin",
    ]


POINTING = [
    "What does this paper propose?",
    "What do the authors conclude about LoRA?",
    "What is shown in Figure 3 for LoRA?",
    "Which rank does Table 2 report for LoRA?",
    "What is the main contribution of the proposed method?",
    "How do we train LoRA?",
    "What does it rely on?",
    "Why are they faster than LoRA?",
    "Which loss is minimised in the equation above?",
    "What did the researchers find about LoRA?",
    "According to the passage, what is LoRA?",
    "What does the model rely on?",
    "What results does the method reach?",
    "Which of the following does LoRA train?",
    "What does [12] say about LoRA?",
    "What is the main idea?",
    "Which method was used for training?",
    "What does LoRA do in these experiments?",
    "What is discussed in Section 4.2?",
    "Which of the aforementioned models is larger than LoRA?",
]
STANDING = [
    "What does LoRA rely on?",
    "Who introduced LoRA?",
    "In which year was LoRA introduced?",
    "What does the Transformer model rely on?",
    "How does the attention mechanism of the Transformer work?",
    "Why is it difficult to train a GAN?",
    "How long does it take to train BERT?",
    "What is the method of Lagrange multipliers?",
    "What does an adapter leave unchanged?",
    "Which technique lowers the number of trained weights in large language models?",
    "How many layers does GPT-3 have?",
    "What is the purpose of the critic in actor-critic methods?",
    "What does US English mean for tokenizers?",
    "Which algorithm does step size adaptation need in Adam?",
    "What is masked language modelling?",
]


@pytest.mark.parametrize("text", POINTING)
def test_a_question_that_points_outside_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="does not stand alone"):
        check_alone(asked(text), passage())


@pytest.mark.parametrize("text", STANDING)
def test_a_question_that_stands_alone_passes(text: str) -> None:
    assert check_alone(asked(text), passage()).question == text


def test_options_are_what_follows() -> None:
    shown = {"choices": ("Weights", "Biases"), "labels": ("A", "B"), "answer": "A"}
    question = asked("Which of the following does LoRA train?").model_copy(update=shown)
    assert check_alone(question, passage()) == question


@pytest.mark.parametrize(
    "text",
    [
        "Who wrote the LoRA paper?",
        "Who are the authors of LoRA?",
        "Which university do the authors of BERT belong to?",
        "What is the e-mail address of Edward Hu?",
        "What is the title of the paper on LoRA?",
        "At which conference was LoRA published?",
        "In which journal did the LoRA study appear?",
        "Where was the article on LoRA published?",
        "When was the LoRA paper submitted?",
        "What is the publication date of the LoRA report?",
        "What is the DOI of LoRA?",
        "What is the arXiv number of LoRA?",
        "What is the URL of the LoRA code?",
        "How many pages does the LoRA report have?",
        "How many references are in the LoRA paper?",
        "Who funded the work on LoRA?",
        "Who is thanked in the acknowledgements of LoRA?",
        "Under which licence is the LoRA article available?",
    ],
)
def test_trivia_about_a_document_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="asks about a document"):
        check_trivia(asked(text), passage())


@pytest.mark.parametrize(
    "text",
    [
        "Who introduced LoRA?",
        "By whom was LoRA proposed?",
        "In which year was LoRA introduced?",
        "Under which licence were the weights of Mistral 7B released?",
        "How many layers does BERT have?",
        "How many tables are joined in a Spider query?",
        "What does spam filtering of e-mails use?",
        "Where does attention appear in a Transformer?",
        "Which benchmark measures text summarisation?",
    ],
)
def test_knowledge_of_the_field_passes(text: str) -> None:
    assert check_trivia(asked(text), passage()).question == text
