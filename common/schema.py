"""What a file's content must look like, checked once where the file is read.

A schema is a type (``int``, ``float``, ``str``, ``bool``, ``dict``, ``list``, ``Any``), a union of
them, ``list[X]`` or ``dict[K, X]``; or a literal of schemas: ``[X]`` for a list of X, ``{"seed":
int}`` for a mapping with at least these keys, and ``"key?"`` for one that may be absent.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from typing import Any

DEEPEST = 40
"""Levels of nesting that any file of this repository stays far below."""

_WORDS = {
    int: "an integer",
    float: "a number",
    str: "text",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
    type(None): "none",
}


def misfit(value: Any, schema: Any, name: str = "content") -> str | None:
    """Say in words where ``value``, called ``name``, is not what ``schema`` asks for; None if it
    fits."""
    if _deeper(value, DEEPEST):
        return f"{name} is nested more than {DEEPEST} levels deep"
    return _misfit(value, schema, name)


def _misfit(value: Any, schema: Any, name: str) -> str | None:
    if schema is Any:
        return None
    if isinstance(schema, dict):
        if not isinstance(value, Mapping):
            return f"{name} is {_kind(value)}, not a mapping"
        for key, inner in schema.items():
            plain = key.removesuffix("?")
            if plain in value:
                found = _misfit(value[plain], inner, plain)
            else:
                found = None if key.endswith("?") else f"{name} lacks {plain!r}"
            if found:
                return found
        return None
    if isinstance(schema, list):
        schema = list[schema[0]]
    origin, arguments = typing.get_origin(schema), typing.get_args(schema)
    if origin in (typing.Union, types.UnionType):
        found = [_misfit(value, option, name) for option in arguments]
        return None if None in found else found[0]
    if origin is list or origin is dict:
        if not isinstance(value, Mapping if origin is dict else list):
            return f"{name} is {_kind(value)}, not {_WORDS[origin]}"
        pairs = value.items() if origin is dict else enumerate(value)
        for key, item in pairs:
            found = _misfit(item, arguments[-1], f"{name}[{key!r}]")
            if found is None and origin is dict:
                found = _misfit(key, arguments[0], f"a key of {name}")
            if found:
                return found
        return None
    return None if _is(value, schema) else f"{name} is {_kind(value)}, not {_WORDS[schema]}"


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        try:
            return type(value) in (int, float) and math.isfinite(value)
        except OverflowError:
            return False
    if kind is dict:
        return isinstance(value, Mapping)
    return type(value) is kind


def _kind(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return _WORDS.get(type(value), f"a {type(value).__name__}")


def _deeper(value: Any, levels: int) -> bool:
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, (list, tuple)):
        inner = value
    else:
        return False
    return levels == 0 or any(_deeper(item, levels - 1) for item in inner)
