"""Validation errors of pydantic as sentences: the setting, its value, the remedy."""

import difflib
from collections.abc import Collection, Container, Mapping
from typing import Any, TypeGuard, get_args, get_origin

from pydantic import BaseModel, ValidationError

from omniopd.errors import ConfigError
from omniopd.methods import Method
from omniopd.settings import Section

# The remedy where a teacher's distributions are not available.
TEXT_ALONE = "use the method fork or omniopd, which need only the teacher's text"


def validated(model: type[Any], value: object, place: str) -> Any:
    """The value as that model.

    Raises:
        ConfigError: every mistake, a line each, below `place`.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError("\n".join(_line(model, mistake, place) for mistake in error.errors())) from error


def mistakes_in(
    model: type[Any], value: Mapping[str, Any], place: str, *, keys: Container[object]
) -> list[str]:
    """The mistakes at those keys of a block, a line each."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        mistakes = [mistake for mistake in error.errors() if mistake["loc"] and mistake["loc"][0] in keys]
        return [_line(model, mistake, place) for mistake in mistakes]
    return []


def _line(model: type[Section], mistake: Any, place: str) -> str:
    loc, kind, value, context = mistake["loc"], mistake["type"], mistake["input"], mistake.get("ctx", {})
    path = ".".join(map(str, loc))
    if loc[-1:] == ("[key]",):
        block, name = ".".join(map(str, loc[:-2])), loc[-2]
        if kind == "literal_error":
            return f"{place}: {block}: unknown key {name}; known are {context['expected']}"
        return f"{place}: {block}: the name {name} is no text; put it in quotes"
    where = (f"{place}.{path}" if "arms." in place else f"{place}: {path}") if path else place
    match kind:
        case "extra_forbidden":
            block = _model_at(model, loc[:-1])
            return f"{where}: unknown key{nearest(str(loc[-1]), block.model_fields if block else ())}"
        case "missing":
            return f"{where}: is missing; add it, as in {model.shown_in}"
        case "value_error":
            return f"{where}: {' '.join(str(context['error']).split())}"
        case "too_short" | "string_too_short":
            return f"{where}: is empty; give at least one"
        case "model_type" | "dict_type":
            return f"{where}: {value!r} is not a block of settings; write `name: value` lines below the key"
        case "greater_than" if context["gt"] == 0:
            reason = "is not positive"
        case "greater_than_equal" if context["ge"] == 0:
            reason = "is negative"
        case _:
            message = mistake["msg"].removeprefix("Input ")
            reason = message[0].lower() + message[1:]
    return f"{where}: {value!r} {reason}; {_remedy(model, loc)}"


def _remedy(model: type[BaseModel], loc: tuple[Any, ...]) -> str:
    block = _model_at(model, loc[:-1])
    field = block.model_fields.get(str(loc[-1])) if block and loc else None
    if block is None or field is None or not issubclass(block, Method) or field.is_required():
        return "give another value"
    return f"the {block.default_is} is {field.default}"


def _model_at(model: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """The block at a path; a dictionary or list of blocks takes two names of it: its own and the block's."""
    names = iter(map(str, loc))
    for name in names:
        field = model.model_fields.get(name)
        annotation = field.annotation if field else None
        blocks = [kind for kind in get_args(annotation) if _is_block(kind)]
        is_single = get_origin(annotation) not in (dict, list)  # a block, or none
        if blocks and (is_single or next(names, None) is not None):
            annotation = blocks[0]
        if not _is_block(annotation):
            return None
        model = annotation
    return model


def _is_block(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def nearest(name: str, known: Collection[str]) -> str:
    """The remedy for an unknown name, to end a sentence: the nearest known name, or all of them."""
    if near := difflib.get_close_matches(name, list(known), n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(known)}" if known else "; delete it"
