"""The scheduler's values as JSON and back, without loss: floats keep every bit."""

import dataclasses
import math
import types
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def encode(value: object) -> Json:  # noqa: PLR0911 - one return a type
    """Dataclasses and named tuples become objects, sets become sorted lists.

    Raises:
        TypeError: for a value of a type that decisions do not use.
    """
    if isinstance(value, float):
        # JSON has no infinity.
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(one) for key, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: encode(one) for name, one in zip(value._fields, value, strict=True)}
    if isinstance(value, Set):
        return [encode(one) for one in sorted(value)]
    if isinstance(value, Sequence):
        return [encode(one) for one in value]
    raise TypeError(f"{type(value).__name__} is no value of a decision")


def decode(kind: type[T], data: Json) -> T:
    """What `encode` was given, as `kind`. ValueError says what does not fit."""
    try:
        return cast(T, _decoder(cast(Hashable, kind))(data))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a {getattr(kind, '__name__', kind)}: {error}") from error


Decoder = Callable[[Any], Any]


@cache
def _decoder(kind: Any) -> Decoder:  # noqa: PLR0911 - one return a type
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in (int, str, bool, types.NoneType) or origin is Literal:
        return lambda data: data
    if kind is float:
        return float
    if origin in (Union, types.UnionType):
        return _of_union(arguments)
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
        return _of_fields(kind)
    if origin is tuple and arguments[1:] != (...,):
        decoders = [_decoder(one) for one in arguments]
        return lambda data: tuple(d(one) for d, one in zip(decoders, data, strict=True))
    if origin in (tuple, frozenset, list):
        item = _decoder(arguments[0])
        return lambda data: origin(item(one) for one in data)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value = _decoder(arguments[1])
        return lambda data: {key: value(one) for key, one in data.items()}
    raise TypeError(f"cannot read a {kind}")


def _of_union(kinds: tuple[Any, ...]) -> Decoder:
    """Optional values, and unions of plain ones, which JSON keeps apart by itself."""
    rest = [kind for kind in kinds if kind is not types.NoneType]
    if len(rest) > 1:
        return lambda data: data
    inner = _decoder(rest[0])
    return lambda data: None if data is None else inner(data)


def _of_fields(kind: Any) -> Decoder:
    hints = get_type_hints(kind)
    names = getattr(kind, "_fields", None) or [f.name for f in dataclasses.fields(kind)]
    decoders = {name: _decoder(hints[name]) for name in names}
    return lambda data: kind(**{name: d(data[name]) for name, d in decoders.items()})
