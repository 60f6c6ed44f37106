"""All routes, and the app that serves them. Hot ones need no place of their own: a path is found in a tree."""

from polyglotd.gateway.http import (
    admin_apps,
    admin_events,
    admin_keys,
    admin_kinds,
    admin_quota,
    admin_secrets,
    admin_tokens,
    admin_webhooks,
    analytics,
    channels,
    daemon_state,
    erasures,
    example_pages,
    history,
    longpoll,
    publish,
    sse,
    tail,
    users,
)
from polyglotd.gateway.http.app import HttpApp
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.openapi import openapi_route
from polyglotd.gateway.http.release import release
from polyglotd.gateway.http.routes import Route

ROUTES: list[Route] = [
    *publish.ROUTES,
    *history.ROUTES,
    *channels.ROUTES,
    *analytics.ROUTES,
    *sse.ROUTES,
    *users.ROUTES,
    *erasures.ROUTES,
    *longpoll.ROUTES,
    *admin_apps.ROUTES,
    *admin_events.ROUTES,
    *admin_quota.ROUTES,
    *admin_kinds.ROUTES,
    *admin_keys.ROUTES,
    *admin_secrets.ROUTES,
    *admin_tokens.ROUTES,
    *admin_webhooks.ROUTES,
    *tail.ROUTES,
    *daemon_state.ROUTES,
    *example_pages.ROUTES,
]


def build_http_app(edge: Edge) -> HttpApp:
    return HttpApp(edge, [*ROUTES, openapi_route(ROUTES, release())])
