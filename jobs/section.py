"""What every section of a configuration is: immutable, closed against unknown keys, without silent conversions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core.core_schema import ValidationInfo


class Section(BaseModel):
    """Base of all sections: immutable, closed against unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_silent_conversion(cls, value: Any, info: ValidationInfo) -> Any:
        """`epochs: true` is not 1, and `'4'` is no number; text such as 5e-5 is, because YAML 1.1 reads it as text.

        A key with nothing behind it, which YAML reads as null, is an empty text where a text is expected.
        """
        expected = cls.model_fields[info.field_name or ""].annotation
        if value is None and expected is str:
            return ""
        if isinstance(value, bool) and expected not in (bool, bool | None):
            raise ValueError("a value was expected, not yes or no")
        if isinstance(value, str) and expected in (int, int | None):
            raise ValueError("a whole number was expected, not text")
        return value
