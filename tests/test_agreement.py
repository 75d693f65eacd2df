"""lm-eval 0.4.13 as the peer: on the same model in float32 and the same rows of ARC, its log-likelihoods and answers.

The rows are the excerpt's 104, and 254 of ARC where ../shared is; the slower comparisons take the first of them.

Its tasks are read from the installed package; only where the rows come from is changed. The peer runs in this process,
without a network.
"""

from __future__ import annotations

import importlib.metadata
import json
import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import yaml

from jobs.config import Evaluation
from jobs.evaluation.figures import results_of
from jobs.evaluation.likelihood import TransformersBackend
from jobs.evaluation.open_parts import chat_part
from jobs.evaluation.packing import batches
from jobs.evaluation.parts import ChoicePart, WrittenPart
from jobs.evaluation.tasks import load_tasks
from qa.choices import ChoicePrompt, Formulation, Item, pick
from qa.prompts import SYSTEM_PROMPT, letter_messages, plain_cloze
from qa.records import Answer, Question
from tests.tiny import ADDED_TOKENS, SPECIAL_TOKENS, random_model, tiny_tokenizer

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM
    from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

SAMPLE = Path(__file__).parents[1] / "jobs" / "sample" / "arc"
CLOSE = 1e-4  # nats, of an option's summed log-likelihood
SHOTS = (0, 5)
MANY, FEW = 204, 44  # rows; the unusual ones come first, and lm-eval runs a cloze row once for each option
ANSWER_LINE = "Answer with the label of the right option only."
OPTIONS = "{% for text in choices.text %}{{choices.label[loop.index0]}}. {{text}}\n{% endfor %}"  # by their own labels
PLAIN = {"doc_to_text": "{{question.strip()}}\n" + OPTIONS + "Answer:"}
CHAT = {"doc_to_text": "{{question.strip()}}\n\n" + OPTIONS + "\n" + ANSWER_LINE}
OWN_LABELS = {"doc_to_choice": "{{choices.label}}", "doc_to_target": "{{choices.label.index(answerKey)}}"}
Row = dict[str, Any]


@dataclass
class World:
    """A random model, and rows of ARC as they are published: questions to ask, and others to show solved."""

    folder: Path
    model: Qwen2ForCausalLM
    tokenizer: Qwen2Tokenizer
    peer: HFLM
    backend: TransformersBackend
    test: list[Row]
    train: list[Row]


@pytest.fixture(scope="module", params=["excerpt", "ARC"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    if request.param == "excerpt":
        (test, train), tokenizer = chosen(*rows_of(SAMPLE)), tiny_tokenizer(folder)
    else:
        hub = request.getfixturevalue("shared_data") / "hub"
        test, train = chosen(*rows_of(hub / "allenai" / "ai2_arc"))
        tokenizer = renumbered(hub / "Qwen" / "Qwen2.5-3B-Instruct", test + train)
    model = random_model(tokenizer, context=4096)
    backend = TransformersBackend(model, tokenizer)
    yield World(folder, model, tokenizer, peer_of(model, tokenizer), backend, test, train)
    backend.close()


def rows_of(folder: Path) -> tuple[list[Row], list[Row]]:
    """Rows of both sets: test with validation, which has the numeric labels, and train."""
    split = {
        name: [row for path in sorted(folder.glob(f"*/{name}-*.parquet")) for row in pq.read_table(path).to_pylist()]
        for name in ("test", "validation", "train")
    }
    return split["test"] + split["validation"], split["train"]


def chosen(test: list[Row], train: list[Row]) -> tuple[list[Row], list[Row]]:
    """Every test row that is not four options under letters, then others, up to 254; at most 120 training rows."""
    odd, plain = ([row for row in test if four_letters(row) == wanted] for wanted in (False, True))
    draw = random.Random(5)
    return odd + draw.sample(plain, min(len(plain), 254 - len(odd))), draw.sample(train, min(len(train), 120))


def four_letters(row: Row) -> bool:
    return list(row["choices"]["label"]) == ["A", "B", "C", "D"]


def as_questions(rows: Sequence[Row]) -> list[Question]:
    return [Question.from_arc(row, task="arc", source="", licence="") for row in rows]


def renumbered(folder: Path, rows: Sequence[Row]) -> Qwen2Tokenizer:
    """The tokenizer of a folder with those of its entries alone that these rows need: same pieces, other ids.

    lm-eval takes a log-softmax over the vocabulary at every position; Qwen2.5's 151,936 entries would take minutes.
    """
    from tokenizers import AddedToken, pre_tokenizers
    from transformers import AutoTokenizer, Qwen2Tokenizer

    whole = AutoTokenizer.from_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    texts = [text for question in as_questions(rows) for text in texts_of(question)]
    used = {piece for text in texts for piece in whole.tokenize(text)}
    parts = {piece[start:end] for piece in used for end in range(1, len(piece) + 1) for start in range(end)}
    kept = (parts & model["vocab"].keys()) | set(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: number for number, piece in enumerate(sorted(kept, key=model["vocab"].__getitem__))}
    pairs = (tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"])
    merges = [pair for pair in pairs if {*pair, "".join(pair)} <= kept]
    pad, _, end = SPECIAL_TOKENS[:3]
    small = Qwen2Tokenizer(vocab=vocab, merges=merges, eos_token=end, pad_token=pad)
    small.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    small.add_tokens([AddedToken(token, special=False, normalized=False) for token in ADDED_TOKENS])
    small.chat_template = whole.chat_template
    assert all(small.tokenize(text) == whole.tokenize(text) for text in texts)
    return small


def texts_of(question: Question) -> list[str]:
    options = [f" {choice}" for choice in question.choices]
    shown = letter_messages(question.question, question.choices, question.labels)
    (asked,) = chat_part("arc", [question]).messages
    return [plain_cloze(question.question), *options, *(message["content"] for message in (*shown, *asked))]


def peer_of(model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer) -> HFLM:
    from lm_eval.models.huggingface import HFLM

    assert importlib.metadata.version("lm_eval") == "0.4.13"
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, device="cpu")


def stock(name: str) -> Row:
    """A task of the installed lm-eval, as it stands in its own file, with what that file includes."""
    import lm_eval.tasks

    path = Path(lm_eval.tasks.__path__[0]) / name
    task = yaml.safe_load(path.read_text(encoding="utf-8"))
    included = task.pop("include", None)
    task.pop("tag", None)
    return (stock(str(Path(name).parent / included)) if included else {}) | task


def peers_answers(
    world: World, task: Row, files: dict[str, list[Row]], shots: int = 0, **settings: Any
) -> tuple[list[Row], Row]:
    """What lm-eval says of every row, in order, and its figures. `files` are the splits that the task names."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    folder = world.folder / f"{task['task']}-{shots}-{len(settings)}"
    folder.mkdir()
    for split, rows in files.items():
        write_rows(folder / f"{split}.jsonl", rows)
    places = {split: str(folder / f"{split}.jsonl") for split in files}
    moved = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": places}}
    absent = {key: None for key in ("training_split", "validation_split") if task.get(key) not in files}
    task = task | moved | absent | {"task": "peer"}
    (folder / "peer.yaml").write_text(yaml.safe_dump(task, allow_unicode=True), encoding="utf-8")
    done = simple_evaluate(
        model=world.peer,
        tasks=["peer"],
        num_fewshot=shots,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        **settings,
    )
    samples = sorted(done["samples"]["peer"], key=lambda sample: sample["doc_id"])
    assert [sample["doc"]["question"] for sample in samples] == [row["question"] for row in files["test"]]
    return samples, done["results"]["peer"]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def likelihoods(sample: Row) -> list[float]:
    return [float(value) for value, _ in sample["filtered_resps"]]


def answers_of(backend: TransformersBackend, part: ChoicePart | WrittenPart) -> list[Answer]:
    """Our rows of one part, in the order of its questions."""
    items, rows = part.items(backend.encoder), {}
    for places in batches([part.costs(item) for item in items], 4096):
        rows |= zip(places, part.ask(backend, places, [items[place] for place in places]), strict=True)
    about = {"model": "m", "task": part.task, "formulation": part.formulation, "prompt_sha256": "", "seconds": 0}
    return [
        Answer(row_id=question.id, document=question.document, **about, **rows[place])
        for place, question in enumerate(part.questions)
    ]


def assert_agreement(part: ChoicePart, ours: list[Answer], samples: list[Row], figures: Row) -> None:
    """Every option's log-likelihood within 1e-4, every answer, and the aggregate figures to the last digit."""
    for question, row, sample in zip(part.questions, ours, samples, strict=True):
        theirs = likelihoods(sample)
        assert row.option_logprobs == pytest.approx(theirs, rel=0, abs=CLOSE), question.id
        assert row.predicted == question.labels[pick(theirs, question, part.prompt.formulation)], question.id
        best = row.option_logprobs.index(max(row.option_logprobs))
        assert (best == question.gold) == (sample["acc"] == 1), question.id
        if "acc_norm" in sample:
            assert row.correct == (sample["acc_norm"] == 1), question.id
    found = results_of(ours, {(question.task, question.id): question for question in part.questions})
    assert {result["metric"]: result["value"] for result in found} == {
        name.removesuffix(",none"): value for name, value in figures.items() if name in ("acc,none", "acc_norm,none")
    }
    assert len({row.predicted for row in ours}) > 2  # a model that always says one thing shows nothing
    assert 0 < sum(row.correct for row in ours) < len(ours)


def drawn(world: World, count: int, rows: Sequence[Row]) -> tuple[list[Question], tuple[Question, ...], list[Row]]:
    """The questions and our own solved examples, read from files, and the published rows of the latter."""
    for name, split in (("test", rows), ("train", world.train)):
        write_rows(world.folder / f"arc_{name}.jsonl", split)
    evaluation = Evaluation(tasks=(str(world.folder / "arc_test.jsonl"),), shots=count)
    (task,) = load_tasks(evaluation, None, 17).tasks
    assert (task.left_out, len(task.choice), len(task.shots)) == ((), len(rows), count)
    by_id = {f"arc_test/{row['id']}": row for row in world.train}
    return list(task.choice), task.shots, [by_id[shot.id] for shot in task.shots]


def test_there_are_104_rows_of_the_excerpt_and_with_shared_200_of_arc(world: World) -> None:
    """A clean clone has the 104 alone: two hundred rows and more are compared only where ../shared is, with ARC."""
    counts = [len(row["choices"]["text"]) for row in world.test]
    assert {3, 4, 5} == set(counts)
    assert any(row["choices"]["label"][0] == "1" for row in world.test)
    assert len(counts) >= (104 if len(world.tokenizer) < 1000 else 200)


@pytest.mark.parametrize("count", SHOTS)
def test_cloze_is_arc_easys(world: World, count: int) -> None:
    rows = world.test[:MANY]
    questions, shots, solved = drawn(world, count, rows)
    task = stock("arc/arc_challenge.yaml") | {"fewshot_config": {"sampler": "first_n"}}
    samples, figures = peers_answers(world, task, {"test": rows, "train": solved or world.train[:1]}, count)
    part = ChoicePart("arc_test", ChoicePrompt("cloze", "plain", shots), tuple(questions))
    assert_agreement(part, answers_of(world.backend, part), samples, figures)


@pytest.mark.parametrize("count", SHOTS)
def test_letter_is_mmlus(world: World, count: int) -> None:
    test, dev = ([as_mmlu(row) for row in rows if four_letters(row)] for rows in (world.test, world.train))
    task = stock("mmlu/default/mmlu_machine_learning.yaml")
    samples, figures = peers_answers(world, task, {"test": test, "dev": dev[:5]}, count)
    questions, shots = (
        tuple(Question.from_mmlu(row, task="mmlu", number=at, source="", licence="") for at, row in enumerate(rows))
        for rows in (test, dev[:count])
    )
    part = ChoicePart("mmlu", ChoicePrompt("letter", "plain", shots, task["description"]), questions)
    assert_agreement(part, answers_of(world.backend, part), samples, figures)


def as_mmlu(row: Row) -> Row:
    answer = row["choices"]["label"].index(row["answerKey"])
    return {"question": row["question"], "choices": row["choices"]["text"], "answer": answer}


@pytest.mark.parametrize("count", SHOTS)
def test_letter_is_mmlus_for_any_labels_and_number_of_options(world: World, count: int) -> None:
    rows = world.test[: FEW if count else None]
    questions, shots, solved = drawn(world, count, rows)
    task = stock("mmlu/default/mmlu_machine_learning.yaml") | PLAIN | OWN_LABELS | {"task": "any_labels"}
    samples, figures = peers_answers(world, task, {"test": rows, "dev": solved or world.train[:1]}, count)
    part = ChoicePart("arc_test", ChoicePrompt("letter", "plain", shots, task["description"]), tuple(questions))
    assert_agreement(part, answers_of(world.backend, part), samples, figures)


def chat_peer(world: World, formulation: Formulation, count: int) -> tuple[ChoicePart, list[Row]]:
    """Our part by chat, and what lm-eval says of the same turns."""
    rows = world.test[:FEW]
    questions, shots, solved = drawn(world, count, rows)
    task = stock("arc/arc_challenge.yaml") | {"fewshot_config": {"sampler": "first_n"}, "task": f"chat_{formulation}"}
    task |= CHAT | OWN_LABELS if formulation == "letter" else {"doc_to_text": "{{question.strip()}}"}
    files = {"test": rows, "train": solved or world.train[:1]}
    turns = {"apply_chat_template": True, "system_instruction": SYSTEM_PROMPT}
    samples, _ = peers_answers(world, task, files, count, **turns)
    return ChoicePart("arc_test", ChoicePrompt(formulation, "chat", shots), tuple(questions)), samples


@pytest.mark.parametrize("count", SHOTS)
@pytest.mark.parametrize("formulation", ["letter", "cloze"])
def test_chat_is_lm_evals_by_chat_template(world: World, formulation: Formulation, count: int) -> None:
    """lm-eval moves white space from the context's end to the option, and takes the line break that opens the
    assistant's turn for that: its sums hold the log-probability of this token too, the same for all options of a row.
    With the line break moved, ours are its sums, and its acc_norm is that of these; ours is of the options alone.
    """
    part, samples = chat_peer(world, formulation, count)
    items = part.items(world.backend.encoder)
    assert {world.tokenizer.decode(item.prompt[-1:]) for item in items} == {"\n"}
    moved = [Item(item.prompt[:-1], [[item.prompt[-1], *ids] for ids in item.options], item.head) for item in items]
    ours = answers_of(world.backend, part)
    sums = world.backend.option_logprobs(moved)
    for question, row, same, sample in zip(part.questions, ours, sums, samples, strict=True):
        theirs = likelihoods(sample)
        assert same == pytest.approx(theirs, rel=0, abs=CLOSE), question.id
        broken = [with_break - without for with_break, without in zip(theirs, row.option_logprobs, strict=True)]
        assert broken == pytest.approx([broken[0]] * len(broken), rel=0, abs=2 * CLOSE), question.id
        best = row.option_logprobs.index(max(row.option_logprobs))
        assert best == theirs.index(max(theirs)), question.id
        assert (best == question.gold) == (sample["acc"] == 1), question.id
        normalised = pick(same, question, formulation) == question.gold
        assert normalised == (sample["acc_norm" if formulation == "cloze" else "acc"] == 1), question.id


def test_chat_generation_is_arc_challenge_chats(world: World) -> None:
    rows = world.test[:40]
    tuned = taught(world, rows)
    task = stock("arc/arc_challenge_chat.yaml")
    turns = {"apply_chat_template": True, "system_instruction": SYSTEM_PROMPT}
    files = {"test": rows, "train": world.train[:1]}
    samples, figures = peers_answers(tuned, task, files, **turns)
    ours = answers_of(tuned.backend, chat_part("arc", as_questions(rows)))
    tuned.backend.close()
    for row, sample in zip(ours, samples, strict=True):
        assert [row.predicted] == sample["filtered_resps"], row.row_id
        assert row.correct == (sample["exact_match"] == 1), row.row_id
    right = sum(row.correct for row in ours)
    assert right / len(ours) == figures["exact_match,remove_whitespace"]
    assert 0 < right < len(ours)
    assert len({row.predicted for row in ours}) > 1


def taught(world: World, rows: Sequence[Row]) -> World:
    """The model after some steps towards a letter and a full stop, and from other rows towards none: a random one
    never names a letter, and then equal marks would say nothing.
    """
    import torch

    model, encoder = deepcopy(world.model), world.backend.encoder
    part = chat_part("arc", as_questions(rows))
    endings = [" A.", " b.\n", " C\n\nMore", " The answer, (D)!", "  A"]
    texts = [item.prompt + encoder.tokenize(endings[at % 5]) for at, item in enumerate(part.items(encoder))]
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    with torch.random.fork_rng(devices=[]):
        for _ in range(3):
            for ids in texts:
                labels = torch.tensor([[-100] * (len(ids) - 4) + ids[-4:]])
                model(input_ids=torch.tensor([ids]), labels=labels).loss.backward()
                optimiser.step()
                optimiser.zero_grad()
    tuned = model.eval()
    backend = TransformersBackend(tuned, world.tokenizer)
    return World(
        world.folder, tuned, world.tokenizer, peer_of(tuned, world.tokenizer), backend, world.test, world.train
    )
