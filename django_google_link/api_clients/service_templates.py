"""googleapiclient's API clients, made by copying a template."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from googleapiclient.discovery import Resource


class ServiceTemplate:
    """A resource of an API, from which copies are made; it makes no requests itself.

    googleapiclient creates the methods of a resource, with their documentation, each time it
    creates the resource. A copy shares them, and costs next to nothing.

    Args:
        resource: the whole API, or a collection in it such as ``calendar.events()``.
    """

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self._nested: dict[str, ServiceTemplate] = {}
        self._functions = dict(self._list_functions())

    def copy(self, http: Any, *, kind: type[Resource] | None = None) -> Any:
        """Return a resource that sends its requests through ``http``.

        Args:
            http: an object with the interface of ``httplib2.Http``.
            kind: the class of the copy, by default that of the resource.
        """
        kind = kind or type(self.resource)
        copy: Any = object.__new__(kind)
        vars(copy).update(vars(self.resource), _http=http)
        copy._dynamic_attrs = list(self.resource._dynamic_attrs)
        vars(copy).update(
            (name, MethodType(function, copy)) for name, function in self._functions.items()
        )
        return copy

    def _list_functions(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        for name in self.resource._dynamic_attrs:
            method = getattr(self.resource, name)
            if hasattr(method, "__is_resource__"):
                yield name, self._make_opener(name, method)
            elif isinstance(method, MethodType):
                yield name, method.__func__

    def _make_opener(self, name: str, method: Any) -> Callable[..., Any]:
        """Return the method that opens a nested collection; its template is made at first use."""

        def open_collection(resource: Resource) -> Any:
            template = self._nested.get(name)
            if template is None:
                template = self._nested.setdefault(name, ServiceTemplate(method()))
            return template.copy(resource._http)

        open_collection.__doc__ = method.__doc__
        open_collection.__is_resource__ = True  # type: ignore[attr-defined]
        return open_collection
