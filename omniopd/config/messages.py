"""Pydantic's findings as sentences: where, what was found, what to do."""

import difflib
from collections.abc import Container, Mapping
from typing import Any, TypeGuard, get_args, get_origin

from pydantic import BaseModel, ValidationError

from omniopd.errors import ConfigError
from omniopd.methods import Method

# What to do where a teacher's distributions cannot be read.
TEXT_ALONE = "take the method fork or omniopd, which need the teacher's text alone"


def validated(model: type[Any], value: object, place: str) -> Any:
    """The value as that model.

    Raises:
        ConfigError: every mistake found, a line each, below `place`.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError("\n".join(_error_line(model, found, place) for found in error.errors())) from error


def mistakes_in(
    model: type[Any], value: Mapping[str, Any], place: str, *, keys: Container[object]
) -> list[str]:
    """The mistakes that validation finds at those keys of a block, a line each."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        own = [found for found in error.errors() if found["loc"] and found["loc"][0] in keys]
        return [_error_line(model, found, place) for found in own]
    return []


def _error_line(model: type[BaseModel], found: Any, place: str) -> str:
    if found["loc"][-1:] == ("[key]",):
        *block, name, _ = map(str, found["loc"])
        if found["type"] == "literal_error":
            return f"{place}: {'.'.join(block)}: unknown key {name}; known are {found['ctx']['expected']}"
        return f"{place}: {'.'.join(block)}: the name {name} is no text; put it in quotes"
    path = ".".join(map(str, found["loc"]))
    where = (f"{place}.{path}" if "arms." in place else f"{place}: {path}") if path else place
    value, context = found["input"], found.get("ctx", {})
    match found["type"]:
        case "extra_forbidden":
            known = _fields_at(model, found["loc"][:-1])
            return f"{where}: unknown key{nearest(str(found['loc'][-1]), known)}"
        case "missing":
            return f"{where}: is missing; add it, as in the params.yaml of the repository"
        case "value_error":
            return f"{where}: {one_line(str(context['error']))}"
        case "too_short" | "string_too_short":
            return f"{where}: is empty; give at least one"
        case "model_type" | "dict_type":
            return f"{where}: {value!r} is not a block of settings; write `name: value` lines below the key"
        case "greater_than" if context["gt"] == 0:
            reason = f"{value!r} is not positive"
        case "greater_than_equal" if context["ge"] == 0:
            reason = f"{value!r} is negative"
        case _:
            message = found["msg"].removeprefix("Input ")
            reason = f"{value!r} {message[0].lower()}{message[1:]}"
    return f"{where}: {reason}{_default(model, found['loc'])}"


def _default(model: type[BaseModel], loc: tuple[Any, ...]) -> str:
    owner = _model_at(model, loc[:-1])
    field = owner.model_fields.get(str(loc[-1])) if owner and loc else None
    if owner is None or field is None or not issubclass(owner, Method) or field.is_required():
        return "; give another value"
    return f"; the {owner.default_is} is {field.default}"


def _model_at(model: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """The block that a path leads to; a dictionary or a list of blocks takes two names, its own and the block's."""
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


def _fields_at(model: type[BaseModel], loc: tuple[Any, ...]) -> Mapping[str, object]:
    owner = _model_at(model, loc)
    return owner.model_fields if owner else {}


def nearest(name: str, known: Mapping[str, object]) -> str:
    """What to do about a name that is not known, to stand at the end of a sentence."""
    near = difflib.get_close_matches(name, list(known), n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(known)}" if known else "; delete it"


def one_line(text: str) -> str:
    """The text with its line ends and runs of space as single spaces."""
    return " ".join(text.split())
