"""The Ask tab behind its page: one question, answered by the fine-tuned model."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from space.answering import Answer, QuestionError, answer, check_question, failed
from space.models import Models, NotReadyError

TEMPERATURE = 0.3  # with the engine's top_p 0.9 and top_k 20, and one seed: the same question gets the same answer

EXAMPLES = (
    "What does LoRA train, and what does it leave frozen?",
    "Why did the Chinchilla paper train on more tokens?",
    "What problem does batch normalization address?",
    "How does retrieval-augmented generation use documents?",
)


def ask(models: Models, question: str, cancel: threading.Event) -> Iterator[Answer]:
    """Stream the fine-tuned model's answer. Whatever is wrong with the question or the model is a failed state."""
    try:
        text, engine = check_question(question), models.engine("tuned")
    except (QuestionError, NotReadyError) as error:
        yield failed(str(error))
        return
    yield from answer(engine, text, temperature=TEMPERATURE, cancel=cancel)
