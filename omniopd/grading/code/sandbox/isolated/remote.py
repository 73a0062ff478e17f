"""Objects of the other process, as this one sees them."""

from __future__ import annotations

from collections.abc import Callable

from .annotations import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .peer import Peer


class Remote:
    """An object of the other side.

    It equals no plain data, whatever its class says: comparisons and arithmetic work only with other objects of its
    side. Calls, attributes, items, iteration and `str` are requests to the other side.
    """

    __slots__ = "_remote_number", "_remote_peer"

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_remote_peer", peer)
        object.__setattr__(self, "_remote_number", number)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._remote_peer.ask("call", self, *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        if name in Remote.__slots__:  # of an object without `__init__`, as `copy` makes it
            raise AttributeError(name)
        return self._remote_peer.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._remote_peer.ask("set", self, name, value)

    def __iter__(self) -> Any:
        steps = self._remote_peer.ask("iter", self)
        while item := self._remote_peer.step(steps):
            yield item[0]

    def __bool__(self) -> bool:
        return True  # without a request: a program cannot make `not f(x)` true with an object

    def __eq__(self, other: object) -> Any:
        if type(other) is not Remote:
            return NotImplemented
        if other._remote_number == self._remote_number:
            return True  # without a request: sets are made while a reply is read
        return self._remote_peer.ask("operate", self, "__eq__", other)

    def __hash__(self) -> int:
        return hash(self._remote_number)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and self._remote_peer.ask("isinstance", self, value) is True


def _asked(name: str) -> Callable[..., Any]:
    return lambda self, *rest: self._remote_peer.ask("operate", self, name, *rest)


def _among_remotes(name: str) -> Callable[..., Any]:
    def operate(self: Remote, other: Any) -> Any:
        if type(other) is not Remote:
            return NotImplemented
        return self._remote_peer.ask("operate", self, name, other)

    return operate


ASKED = ("__len__", "__str__", "__repr__", "__getitem__", "__setitem__", "__delitem__")
AMONG_REMOTES = ("__lt__", "__le__", "__gt__", "__ge__", "__add__", "__sub__", "__mul__", "__matmul__",
                 "__truediv__", "__floordiv__", "__mod__", "__and__", "__or__", "__xor__")  # fmt: skip
for _name in ASKED:
    setattr(Remote, _name, _asked(_name))
for _name in AMONG_REMOTES:
    setattr(Remote, _name, _among_remotes(_name))
