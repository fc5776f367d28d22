"""The bases of everything on the wire: one renames, one is for what callers write."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

JsonObject = dict[str, Any]
# This describes what is parsed later, by whoever can say better what is wrong with it.
OriginUrl = Annotated[str, WithJsonSchema({"type": "string", "format": "uri", "maxLength": 2048})]


class Wire(BaseModel):
    """Base of everything on the wire: frozen, closed, camelCase outside."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        hide_input_in_errors=True,
        # A default is part of the answer, so the description of an answer says that the field is always there.
        json_schema_serialization_defaults_required=True,
    )


class Sparse(Wire):
    """Base of what a caller writes: a field is given with a value or left out, and null is neither.

    Validation is strict: `"0.9"` is not a number and `1` is not a switch.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_null(cls, data: object) -> object:
        if isinstance(data, dict):
            given: JsonObject = data  # pyright: ignore[reportUnknownVariableType]
            # A name that is no field's is the caller's own text, and is refused without being repeated.
            nulls = [name for name, value in given.items() if value is None and name in _names_of(cls)]
            if nulls:
                raise field_errors(cls, [(name, "null", "leave the field out instead of null") for name in nulls])
        return data  # pyright: ignore[reportUnknownVariableType]

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonObject:
        """Describe an optional field by its type alone: being optional is what `required` says."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        for name, field in schema.get("properties", {}).items():
            schema["properties"][name] = without_null(field)
        return schema


@cache
def _names_of(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(model.model_fields).union(field.alias or "" for field in model.model_fields.values())


def without_null(schema: JsonObject) -> JsonObject:
    """Take the null branch, and the null default with it, out of one field's JSON Schema."""
    branches = [branch for branch in schema.get("anyOf", []) if branch != {"type": "null"}]
    if len(branches) != 1:
        return schema
    rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    return {**branches[0], **rest}


def field_errors(model: type[BaseModel], errors: list[tuple[str, str, str]]) -> ValidationError:
    """Build the error that Pydantic itself would raise for these `(field, code, message)`.

    A validator that raises it keeps the field's location, which a plain ValueError on a model loses.
    """
    details = [
        # The braces are doubled because Pydantic formats the message as a template.
        InitErrorDetails(
            type=PydanticCustomError(code, message.replace("{", "{{").replace("}", "}}")),  # pyright: ignore[reportArgumentType]
            loc=(name,),
            input=None,
        )
        for name, code, message in errors
    ]
    return ValidationError.from_exception_data(model.__name__, details, hide_input=True)
