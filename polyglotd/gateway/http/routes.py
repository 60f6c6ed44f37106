"""Which endpoint serves a request: a tree of path segments.

Paths are matched after they were split at literal slashes (`target`), so that a name in a path may hold an encoded
one. A path has one spelling: no slash at the end, no doubled ones.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from polyglotd.gateway.http.answer import Answer
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc
from polyglotd.gateway.http.edge import Edge
from polyglotd.model import MethodNotAllowed, NotFound

Endpoint = Callable[[Edge, Call], Awaitable[Answer | None]]
"""None: the endpoint has sent its own stream, or, at an upgrade, spoken with the WebSocket to its end."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row: `{name}` in the path is one segment, `{name...}` at its end all that follow."""

    method: str  # WEBSOCKET: an upgrade
    path: str
    endpoint: Endpoint
    doc: Doc | None = None  # None: not a part of the documented API
    streams: bool = False  # the answer has no end of its own: HEAD is not offered


@dataclass(eq=False)
class WrongMethod(MethodNotAllowed):
    """There is such a path. `allow` names its methods."""

    allow: Sequence[str] = field(default=(), kw_only=True)


@dataclass
class _Node:
    literals: dict[str, "_Node"] = field(default_factory=dict)
    variable: "tuple[str, _Node] | None" = None
    rest: str | None = None  # this node takes all segments that follow under this name
    routes: dict[str, Route] = field(default_factory=dict)


class RouteTable:
    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for part in route.path.removeprefix("/").split("/"):
            if part.endswith("...}"):
                node = node.literals.setdefault("...", _Node(rest=part[1:-4]))
            elif part.startswith("{"):
                if node.variable is None:
                    node.variable = (part[1:-1], _Node())
                assert node.variable[0] == part[1:-1], f"{route.path}: two names for one place"
                node = node.variable[1]
            else:
                node = node.literals.setdefault(part, _Node())
        assert route.method not in node.routes, f"{route.method} {route.path} twice"
        node.routes[route.method] = route

    def find(self, method: str, segments: Sequence[str | None]) -> tuple[Route, Mapping[str, str | None]]:
        """The route, and the path's parameters. Raises `NotFound`, `WrongMethod`."""
        routes, params = self._at(segments)
        route = routes.get(method)
        if route is None and method == "HEAD" and (get := routes.get("GET")) is not None and not get.streams:
            route = get
        if route is None:
            raise WrongMethod(f"{method[:32]} is not for this path", allow=_methods(routes))
        return route, params

    def allowed(self, segments: Sequence[str | None]) -> Sequence[str]:
        """The methods of a path. Raises `NotFound`."""
        return _methods(self._at(segments)[0])

    def _at(self, segments: Sequence[str | None]) -> tuple[Mapping[str, Route], Mapping[str, str | None]]:
        node = self._root
        params: dict[str, str | None] = {}
        for place, segment in enumerate(segments):
            if segment is not None and segment != "..." and segment in node.literals:
                node = node.literals[segment]
            elif (rest := node.literals.get("...")) is not None and rest.rest is not None:
                whole = segments[place:]
                params[rest.rest] = None if None in whole else "/".join(part or "" for part in whole)
                return rest.routes, params
            elif node.variable is not None and segment != "":
                name, node = node.variable
                params[name] = segment
            else:
                raise NotFound("there is no such path")
        if not node.routes:
            raise NotFound("there is no such path")
        return node.routes, params


def _methods(routes: Mapping[str, Route]) -> list[str]:
    methods = [method for method in routes if method != "WEBSOCKET"]
    if "GET" in routes and not routes["GET"].streams:
        methods.append("HEAD")
    return sorted([*methods, "OPTIONS"])
