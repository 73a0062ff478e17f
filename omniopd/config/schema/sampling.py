"""Settings of sampling that several blocks have; each was added later, so that earlier runs keep their keys."""

from typing import Annotated

from pydantic import AfterValidator, Field

from omniopd.settings import Key


def _filled(stop: list[str]) -> list[str]:
    if "" in stop:
        raise ValueError("holds an empty string, which ends every response; delete it")
    return stop


TopP = Annotated[
    float,
    Key.IF_CHANGED,
    Field(gt=0, le=1, description="sample from the likeliest tokens that sum to this; 1: all"),
]
TopK = Annotated[
    int | None, Key.IF_CHANGED, Field(gt=0, description="sample from the k likeliest tokens; null: all")
]
MinP = Annotated[
    float,
    Key.IF_CHANGED,
    Field(ge=0, lt=1, description="leave out tokens less likely than this times the likeliest; 0: none"),
]
Stop = Annotated[
    list[str],
    Key.IF_CHANGED,
    AfterValidator(_filled),
    Field(
        description="strings that end a response, for models that write no end token; they are no part of it"
    ),
]
