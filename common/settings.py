"""One source for settings: dataclasses describe them, YAML files hold the values, flags override.

A settings class is a (frozen) dataclass whose fields are values, or sections: dataclasses of
values, one level deep::

    @dataclass(frozen=True)
    class TrainingSettings:
        learning_rate: float = option("step size of Adam", minimum=0)
        milestones: dict[int, float] = option("epoch -> factor of the rate")

    @dataclass(frozen=True)
    class Settings:
        dataset: str = option("what to learn", choices=("bars", "shapes"))
        training: TrainingSettings

Values are ``int``, ``float``, ``str``, ``bool``, a ``tuple`` or ``list`` of one of these, a
``dict`` from one to another, or ``X | None``. What depends on several values is checked in the
class's ``__post_init__``, which raises ``ValueError``.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import types
import typing
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from common.errors import UserError
from common.files import read_yaml
from common.protocol import paper_values

T = TypeVar("T")

_WORDS = {int: "an integer", float: "a number", str: "text", bool: "true or false"}
_PLURALS = {int: "integers", float: "numbers", str: "words", bool: "true or false"}


def option(
    help: str,
    *,
    default: Any = dataclasses.MISSING,
    choices: Sequence | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    some: bool = False,
    kw_only: Any = dataclasses.MISSING,
) -> Any:
    """A field of a settings class: its help and its limits.

    Args:
        help: what it means, for ``--help``. default: where no file gives a value.
        choices: all values that are allowed. minimum, maximum: of the value, both inclusive.
        some: a list must not be empty. kw_only: as of ``dataclasses.field``.
    """
    limits = {"choices": choices, "minimum": minimum, "maximum": maximum, "some": some or None}
    given = {name: value for name, value in limits.items() if value is not None}
    made = {"default_factory": default.copy} if isinstance(default, dict) else {"default": default}
    return dataclasses.field(**made, kw_only=kw_only, metadata={"help": help, **given})


@dataclass(frozen=True)
class _Kind:
    """What a leaf field may hold."""

    item: type  # int, float, str or bool
    container: type | None = None  # tuple, list, dict or None for a single value
    key: type | None = None  # of a dict
    length: int | None = None  # of a tuple such as tuple[int, int]
    optional: bool = False

    def __str__(self) -> str:
        if self.container is dict:
            text = f"a mapping from {_PLURALS[self.key]} to {_PLURALS[self.item]}"
        elif self.container:
            count = "" if self.length is None else f"{self.length} "
            text = f"a list of {count}{_PLURALS[self.item]}"
        else:
            text = _WORDS[self.item]
        return f"{text} or none" if self.optional else text


@dataclass(frozen=True)
class _Leaf:
    name: str
    section: str | None
    kind: _Kind
    metadata: Mapping[str, Any]


# ------------------------------------------------------------------ values in and out of files


def load_settings(
    cls: type[T], path: str | Path, overrides: Mapping | None = None, paper: bool = False
) -> T:
    """Read settings of class ``cls`` from the YAML file ``path``.

    ``overrides`` is a nested mapping laid over the file, as :func:`overrides_from_args` gives it.
    With ``paper`` the values of :func:`common.protocol.paper_values` come first.
    Raises :class:`UserError` when the file is missing or unreadable, or when a key is unknown,
    missing, of the wrong type, not finite or out of range.
    """
    path = Path(path)
    values = read_yaml(path, f"there is no settings file {path}; check the name")
    if paper:
        for key, value in paper_values(path).items():
            values[key] = {**values[key], **value} if isinstance(value, Mapping) else value
    settings = from_dict(cls, values, str(path))
    if not overrides:
        return settings
    merged = to_dict(settings)
    for key, value in overrides.items():
        is_section = dataclasses.is_dataclass(getattr(settings, key, None))
        merged[key] = {**merged[key], **value} if is_section else value
    return from_dict(cls, merged, f"{path} with the flags given")


def from_dict(
    cls: type[T],
    mapping: Any,
    source: str = "settings",
    *,
    flags: Collection[str] = (),
    ready: Mapping[str, Any] | None = None,
) -> T:
    """Build ``cls`` from a nested mapping; ``source`` names its origin in error messages.

    Fields with a default may be left out. A class method ``migrated(mapping)`` of ``cls`` reads
    what earlier versions wrote. Raises :class:`UserError` as :func:`load_settings`.

    Args:
        flags: names of values that were given as flags, and are called so in error messages.
        ready: further fields, which are taken as they are.
    """
    if isinstance(mapping, Mapping) and hasattr(cls, "migrated"):
        mapping = cls.migrated(mapping)
    return _build(cls, mapping, source, "", flags, ready or {})


def to_dict(settings: Any) -> dict[str, Any]:
    """Settings as nested plain dicts, lists and numbers, ready for JSON, YAML or a checkpoint."""
    return {key: _plain(value) for key, value in dataclasses.asdict(settings).items()}


def differences(there: Any, here: Any) -> list[str]:
    """Say in words where two settings (dataclasses or their dicts) differ.

    Returns lines such as ``"training.learning_rate: 0.01 there, 0.001 here"``; used on resume,
    where *there* is the interrupted run and *here* the new command.
    """
    old, new = (
        dict(_flat(to_dict(x) if dataclasses.is_dataclass(x) else x)) for x in (there, here)
    )
    return [
        f"{key}: {old.get(key, 'absent')} there, {new.get(key, 'absent')} here"
        for key in dict.fromkeys([*old, *new])
        if key not in old or key not in new or old[key] != new[key]
    ]


# -------------------------------------------------------------------------- the command line


def add_arguments(
    parser: argparse.ArgumentParser,
    cls: type,
    defaults: Any = None,
    title: str = "general",
    only_options: bool = False,
) -> None:
    """Add one flag for every value of ``cls``: ``--learning_rate``, also ``--learning-rate``.

    A flag that is not given leaves no trace in the namespace, so the file's value holds. Lists
    take several words (``--sizes 3 5``), mappings pairs (``--milestones 60=0.5 100=0.1``), and
    ``none`` empties an optional value. Raises ``ValueError`` when two sections share a name.

    Args:
        defaults: the file's values, shown by ``--help``: settings, a mapping from names to what
            is shown, or a text for all. title: of the values that are in no section.
        only_options: fields without :func:`option` have no flag.
    """
    groups: dict[str | None, Any] = {}
    shown = _shown_defaults(defaults)
    for leaf in _leaves(cls, only_options):
        if leaf.section not in groups:
            groups[leaf.section] = parser.add_argument_group(f"{leaf.section or title} settings")
        names = dict.fromkeys([f"--{leaf.name}", f"--{leaf.name.replace('_', '-')}"])
        groups[leaf.section].add_argument(
            *names,
            dest=leaf.name,
            default=argparse.SUPPRESS,
            help=_help(leaf, shown[leaf.name]),
            **_argparse_options(leaf.kind, leaf.metadata),
        )


def flag_names(cls: type) -> set[str]:
    """The names of the flags of :func:`add_arguments`, without ``--``."""
    return {leaf.name for leaf in _leaves(cls)}


def overrides_from_args(
    cls: type, namespace: argparse.Namespace, only_options: bool = False
) -> dict[str, Any]:
    """The flags of :func:`add_arguments` that were given, nested like the settings file."""
    overrides: dict[str, Any] = {}
    for leaf in _leaves(cls, only_options):
        if not hasattr(namespace, leaf.name):
            continue
        value = getattr(namespace, leaf.name)
        if leaf.kind.container and leaf.kind.optional and value == [None]:
            value = None
        elif leaf.kind.container is dict:
            value = dict(value)
        section = overrides.setdefault(leaf.section, {}) if leaf.section else overrides
        section[leaf.name] = value
    return overrides


WORDS_OF_SWITCHES = {"1": True, "true": True, "0": False, "false": False}


class Switch(argparse.Action):
    """A flag that is on or off: ``--flag``, ``--flag 1``, ``--flag true``; ``--flag 0``,
    ``--flag false``, ``--no-flag``."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        negated = [f"--no-{option.removeprefix('--')}" for option in option_strings]
        options.setdefault("default", False)
        super().__init__([*option_strings, *negated], dest, nargs="?", metavar="0|1", **options)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        words = {None: True, **WORDS_OF_SWITCHES}
        word = values if values is None else values.lower()
        if word not in words:
            raise argparse.ArgumentError(self, f"must be 0, 1, true or false, not {values!r}")
        off = (option_string or "").startswith("--no-")
        setattr(namespace, self.dest, words[word] != off)


def _argparse_options(kind: _Kind, metadata: Mapping[str, Any]) -> dict[str, Any]:
    if kind.item is bool and kind.container is None:
        return {"action": Switch}
    metavar = {int: "INT", float: "FLOAT", str: "TEXT", bool: "BOOL"}[kind.item]

    def parse(text: str) -> Any:
        if kind.optional and text.lower() == "none":
            return None
        if kind.container is dict:
            key, _, value = text.partition("=")
            return kind.key(key), item(value)
        return item(text)

    def item(text: str) -> Any:
        return WORDS_OF_SWITCHES[text.lower()] if kind.item is bool else kind.item(text)

    def value(text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, KeyError):
            raise argparse.ArgumentTypeError(f"must be {kind}, not {text!r}") from None

    if kind.container is None:
        return {"type": value, "metavar": metavar}
    pair = f"KEY={metavar}" if kind.container is dict else metavar
    return {"type": value, "metavar": pair, "nargs": "+" if metadata.get("some") else "*"}


def _shown_defaults(defaults: Any) -> Mapping[str, str | None]:
    """What ``--help`` shows as defaults, by the names of the values."""
    if isinstance(defaults, str):
        return defaultdict(lambda: defaults)
    if dataclasses.is_dataclass(defaults):
        values = dict(vars(defaults))
        for section in filter(dataclasses.is_dataclass, vars(defaults).values()):
            values |= vars(section)
        defaults = {key: in_words(value) for key, value in values.items()}
    return defaultdict(lambda: None, defaults or {})


def in_words(value: Any) -> str:
    """A value as one types it behind its flag."""
    if value is None or (isinstance(value, Sequence | Mapping) and len(value) == 0):
        return "none"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, Mapping):
        return " ".join(f"{key}={in_words(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(in_words, value))
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _help(leaf: _Leaf, default: str | None) -> str:
    choices = leaf.metadata.get("choices")
    is_list = leaf.kind.container in (list, tuple)
    parts = [str(leaf.kind).removeprefix("a ")] if is_list else []
    parts += [", ".join(map(str, choices))] if choices else []
    parts += ["or none"] if leaf.kind.optional and not leaf.kind.container else []
    parts += [f"default: {default}"] if default is not None else []
    text = leaf.metadata.get("help", "") + (f" ({'; '.join(parts)})" if parts else "")
    return text.strip().replace("%", "%%")


# ------------------------------------------------------------------------------- the parts


def _leaves(cls: type, only_options: bool = False) -> list[_Leaf]:
    """All value fields of ``cls`` and its sections, in order; or only those of :func:`option`."""
    leaves = []
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if only_options and "help" not in field.metadata:
            continue
        if dataclasses.is_dataclass(hint):
            inner = typing.get_type_hints(hint)
            leaves += [
                _Leaf(f.name, field.name, _kind(inner[f.name]), f.metadata)
                for f in dataclasses.fields(hint)
            ]
        else:
            leaves.append(_Leaf(field.name, None, _kind(hint), field.metadata))
    names = [leaf.name for leaf in leaves]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{cls.__name__}: sections share the names {', '.join(repeated)}")
    return leaves


def _kind(hint: Any) -> _Kind:
    """Read a type annotation; raises TypeError for one that settings cannot hold."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _WORDS:
        return _Kind(hint)
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2:
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) == 1:
            return dataclasses.replace(_kind(inner[0]), optional=True)
    if all(argument in _WORDS for argument in arguments if argument is not Ellipsis):
        if origin is list:
            return _Kind(arguments[0], list)
        if origin is dict:
            return _Kind(arguments[1], dict, key=arguments[0])
        if origin is tuple and len(set(arguments) - {Ellipsis}) == 1:
            length = None if Ellipsis in arguments else len(arguments)
            return _Kind(arguments[0], tuple, length=length)
    raise TypeError(f"settings cannot hold a value of type {hint}")


def _build(
    cls: type[T],
    mapping: Any,
    source: str,
    prefix: str,
    flags: Collection[str] = (),
    ready: Mapping[str, Any] = types.MappingProxyType({}),
) -> T:
    if not isinstance(mapping, Mapping):
        what = f"the section {prefix[:-1]!r}" if prefix else "this"
        raise UserError(f"{source}: {what} must be a mapping of setting: value pairs")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in ready}
    hints = typing.get_type_hints(cls)
    for key in mapping:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(fields)}"
            raise UserError(f"{source}: unknown setting '{prefix}{key}'; {advice}")
    values = dict(ready)
    for name, field in fields.items():
        hint = hints[name]
        where = f"--{name}" if name in flags else f"{source}: setting '{prefix}{name}'"
        if name in mapping and dataclasses.is_dataclass(hint):
            values[name] = _build(hint, mapping[name], source, f"{prefix}{name}.")
        elif name in mapping:
            values[name] = _checked(mapping[name], _kind(hint), field.metadata, where)
        elif field.default is field.default_factory is dataclasses.MISSING:
            kind = "a section" if dataclasses.is_dataclass(hint) else _kind(hint)
            raise UserError(f"{where} is missing; it must be {kind}")
    try:
        return cls(**values)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None


def _checked(value: Any, kind: _Kind, metadata: Mapping[str, Any], where: str) -> Any:
    """``value`` as ``kind``, within the choices and limits of the field's metadata."""
    try:
        value = _convert(value, kind)
    except (TypeError, ValueError):
        raise UserError(f"{where} must be {kind}, not {value!r}") from None
    if value is None:
        return None
    if not kind.container:
        items = [value]
    else:
        items = list(value.values() if kind.container is dict else value)
    if metadata.get("some") and not items:
        raise UserError(f"{where} must not be empty")
    choices = metadata.get("choices")
    lowest, highest = metadata.get("minimum"), metadata.get("maximum")
    for item in items:
        if choices is not None and item not in choices:
            raise UserError(f"{where} must be one of {', '.join(map(str, choices))}, not {item!r}")
        if lowest is not None and item < lowest:
            raise UserError(f"{where} must be at least {lowest}, not {item!r}")
        if highest is not None and item > highest:
            raise UserError(f"{where} must be at most {highest}, not {item!r}")
    return value


def _convert(value: Any, kind: _Kind) -> Any:
    if value is None and kind.optional:
        return None
    if kind.container is None:
        return _scalar(value, kind.item)
    if kind.container is dict:
        if not isinstance(value, Mapping):
            raise TypeError
        # JSON turns every key into text, so text is read as the key's type here.
        read = kind.key if kind.key in (int, float) else str
        return {_scalar(read(k), kind.key): _scalar(v, kind.item) for k, v in value.items()}
    if not isinstance(value, (list, tuple)) or kind.length not in (None, len(value)):
        raise TypeError
    return kind.container(_scalar(item, kind.item) for item in value)


def _scalar(value: Any, item: type) -> Any:
    """``value`` as ``item``; an integer is a number, but nothing else is converted."""
    if item is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        value = float(value)  # text too: YAML reads 1e-4, without a point, as text
        if not math.isfinite(value):
            raise ValueError
    if type(value) is not item:
        raise TypeError
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _flat(mapping: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)
