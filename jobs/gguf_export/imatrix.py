"""The importance matrix: how strongly a model uses each input channel of its linear layers on the project's own text.

A quantiser that knows the mean squared activation of each channel spends its few bits where errors would be heard.
Files are in llama.cpp's GGUF format of it (tools/imatrix/imatrix.cpp, `save_imatrix`): its tools read ours, and we read
theirs. The text is the data set's training split alone; a held-out row would make the evaluation flatter the file.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import UserError, first_line
from jobs.gguf_export.activations import squared_inputs
from jobs.training_rows import fitting_rows, longest_row, read_split
from qa.prompts import PromptEncoder

if TYPE_CHECKING:
    import gguf
    import numpy as np

CHUNK = 512  # tokens that llama.cpp counts as one chunk: its tool's default, so that files of both can be combined
SUMS, COUNTS = ".in_sum2", ".counts"


@dataclass(frozen=True)
class ImportanceMatrix:
    """Sums of squared activations, float32 [inputs], and how many tokens they are of, by llama.cpp's tensor name."""

    sums: dict[str, np.ndarray]
    counts: dict[str, int]
    datasets: tuple[str, ...]
    chunks: int
    chunk_size: int

    @property
    def tokens(self) -> int:
        """Tokens that were read."""
        return max(self.counts.values())

    def means(self) -> dict[str, np.ndarray]:
        """Mean squared activations, float32 [inputs], in llama-quantize's own arithmetic."""
        import numpy as np

        return {name: sums / np.float32(self.counts[name]) for name, sums in self.sums.items()}

    def write(self, path: Path) -> None:
        """Write the file as llama-imatrix would, byte for byte; llama.cpp reads none that names no data set."""
        import gguf
        import numpy as np

        if not self.datasets:
            raise ValueError("an importance matrix must name its data set")

        class Writer(gguf.GGUFWriter):
            def add_architecture(self) -> None:
                """None: a matrix has no architecture, and llama.cpp writes none."""

        writer = Writer(path, "")
        writer.add_type(gguf.GGUFType.IMATRIX)
        writer.add_array(gguf.Keys.IMatrix.DATASETS, list(self.datasets))
        writer.add_uint32(gguf.Keys.IMatrix.CHUNK_COUNT, self.chunks)
        writer.add_uint32(gguf.Keys.IMatrix.CHUNK_SIZE, self.chunk_size)
        for name in sorted(self.sums):
            writer.add_tensor(f"{name}{SUMS}", self.sums[name])
            writer.add_tensor(f"{name}{COUNTS}", np.array([self.counts[name]], np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    @classmethod
    def read(cls, path: Path) -> ImportanceMatrix:
        """Read a matrix that `write` or llama-imatrix wrote. Raises `UserError` for any other file."""
        import gguf

        keys = gguf.Keys.IMatrix
        try:
            reader = gguf.GGUFReader(path)
            fields = {name: field.contents() for name, field in reader.fields.items()}
            if fields.get(gguf.Keys.General.TYPE) != gguf.GGUFType.IMATRIX:
                raise ValueError(f"its general.type is {fields.get(gguf.Keys.General.TYPE)!r}")
            sums, counts = _entries(reader)
            datasets, chunks, size = (fields[key] for key in (keys.DATASETS, keys.CHUNK_COUNT, keys.CHUNK_SIZE))
            matrix = cls(sums, counts, tuple(datasets or ()), int(chunks), int(size))
        except (OSError, ValueError, KeyError, IndexError) as error:
            reason = f"not an importance matrix in llama.cpp's GGUF format ({first_line(error)})"
            raise UserError(f"{path}: {reason}; compute it again") from None
        _refuse_unusable(matrix, str(path))
        return matrix


def _entries(reader: gguf.GGUFReader) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    import numpy as np

    parts = {tensor.name: np.array(tensor.data, np.float32).ravel() for tensor in reader.tensors}
    names = [name.removesuffix(SUMS) for name in parts if name.endswith(SUMS)]
    if 2 * len(names) != len(parts) or not names:
        raise ValueError("tensors other than sums and counts, or none")
    if several := [name for name in names if len(parts[f"{name}{COUNTS}"]) != 1]:
        raise ValueError(f"{several[0]} is of several experts, which is not supported")
    sums = {name: parts[f"{name}{SUMS}"] for name in names}
    return sums, {name: round(float(parts[f"{name}{COUNTS}"][0])) for name in names}


def _refuse_unusable(matrix: ImportanceMatrix, where: str) -> None:
    import numpy as np

    for name, sums in matrix.sums.items():
        if not np.isfinite(sums).all():
            raise UserError(f"{where}: the inputs of {name} hold NaN or infinity; the model is damaged, train it again")
        if matrix.counts[name] < 1 or sums.min(initial=0.0) < 0:
            raise UserError(f"{where}: {name} has no tokens or a negative sum of squares; compute it again")


def calibration_rows(dataset: Path, encoder: PromptEncoder, *, tokens: int, seed: int) -> list[list[int]]:
    """Rows of the training split as training sees them, prompt and answer, until they hold `tokens` token ids.

    The project's own questions come before ARC, each in an order drawn by `seed`; all rows where there are fewer. Those
    longer than the data set's `max_length` are left out, as training leaves them out.
    """
    drawn, left = random.Random(seed), tokens
    parts = [drawn.sample(part, len(part)) for part in read_split(dataset, "train")]
    rows: list[list[int]] = []
    for row in fitting_rows(chain.from_iterable(parts), encoder, longest_row(dataset)):
        if left <= 0:
            break
        rows.append(row["input_ids"])
        left -= len(rows[-1])
    return rows


def collect(
    model: Path, rows: Sequence[Sequence[int]], *, datasets: tuple[str, ...], device: str | None = None
) -> ImportanceMatrix:
    """Run rows of token ids through a transformers folder, in the type its weights are stored in.

    Every linear layer of the blocks has an entry; the output layer has none, as llama-imatrix leaves it out. Raises
    `UserError` for a model that cannot be loaded or exported, and for activations that are not finite.
    """
    import numpy as np

    rows = [row for row in rows if row]
    if not rows:
        raise UserError(f"{model}: no tokens to compute an importance matrix from; give rows of the training split")
    used = sum(map(len, rows))
    sums = {name: total.astype(np.float32) for name, total in squared_inputs(model, rows, device).items()}
    matrix = ImportanceMatrix(sums, dict.fromkeys(sums, used), datasets, used // CHUNK, CHUNK)
    _refuse_unusable(matrix, str(model))
    return matrix
