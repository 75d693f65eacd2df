"""The rows of the ladder, from what lies in a folder that export made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import UserError
from jobs.gguf_export.quantizer import PLAIN
from jobs.step import STEP_FILE, file_sha256, read_step

WITHOUT_MATRIX = ("q8_0",)  # llama.cpp's quantiser looks at no importance matrix for it


@dataclass(frozen=True)
class Rung:
    """One row to be: a type, with the importance matrix or without (None where it makes no difference)."""

    kind: str
    matrix: bool | None

    @property
    def name(self) -> str:
        """Of its checkpoint, and of its file while there is one."""
        return f"{self.kind}-imatrix" if self.matrix else self.kind


@dataclass(frozen=True)
class Exported:
    """A folder that export made: its files by type, the one that others are made from, and its importance matrix."""

    folder: Path
    files: dict[str, str]
    reference: str
    matrix: str

    @classmethod
    def read(cls, folder: Path) -> Exported:
        """Raises `UserError` where the folder is not export's, or has no file to quantise from."""
        record = read_step(folder)
        files, matrix = record.figures.get("files"), record.figures.get("imatrix") or {}
        if not isinstance(files, dict):
            raise UserError(f"{folder}: made by the step {record.step}, not by export; name a folder that export made")
        if (reference := next((kind for kind in PLAIN if kind in files), None)) is None:
            raise UserError(
                f"{folder}: holds {', '.join(files) or 'no file'}, and none of {', '.join(PLAIN)} to quantise from and "
                "compare with; export again with --types f16,…"
            )
        return cls(folder, files, reference, matrix.get("file", ""))

    @property
    def source(self) -> Path:
        """The file that the others are made from and compared with."""
        return self.folder / self.files[self.reference]

    def rungs(self, types: Sequence[str]) -> list[Rung]:
        """The reference, then each type without and, where there is one that it uses, with the matrix."""
        rows = [Rung(self.reference, None)]
        for kind in dict.fromkeys(types):
            uses = (False, True) if self.matrix else (False,)
            rows += [Rung(kind, matrix) for matrix in ((None,) if kind in WITHOUT_MATRIX else uses)]
        return rows

    def published(self, rung: Rung) -> Path | None:
        """The folder's own file of that type, if it was made that way. Raises `UserError` if it is another since."""
        same = rung.matrix is None or rung.matrix == bool(self.matrix)
        if not same or rung.kind not in self.files:
            return None
        path = self.folder / self.files[rung.kind]
        if file_sha256(path) != read_step(self.folder).outputs[path.name]["sha256"]:
            raise UserError(f"{path}: is not the file that {self.folder / STEP_FILE} records; export again")
        return path
