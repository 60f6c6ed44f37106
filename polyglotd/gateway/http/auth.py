"""Who asks: credentials out of a request's head, and the caller that the gateway makes of them."""

from polyglotd.access.admin_tokens import looks_like_admin_token
from polyglotd.gateway.callers import Caller, Credentials
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.edge import Edge
from polyglotd.model import Forbidden, Invalid, Unauthorized

NO_CREDENTIAL = "give an API key (X-API-Key) or a token (Authorization: Bearer)"


async def caller_of(edge: Edge, call: Call, *, query_token: str | None = None) -> Caller:
    """Who asks for something of the app in the path. Raises `Unauthorized`, `Forbidden`, `NotFound`, `Unavailable`.

    `NotFound` comes to operators alone: to everybody else an app that is not there is one that their credential is
    not good for.
    """
    caller = await _caller(edge, call, credentials(call, query_token))
    call.limits = caller.app.limits
    return caller


async def _caller(edge: Edge, call: Call, shown: Credentials) -> Caller:
    app_id = call.app_id()
    if shown.absent:
        # On the admin socket a credential that is shown counts; the peer's own right is for those who show none.
        if call.from_operator_socket:
            return await edge.gateway.operator(app_id)
        raise Unauthorized(NO_CREDENTIAL)
    if shown.bearer is not None and looks_like_admin_token(shown.bearer):
        if shown.api_key is not None or shown.query_token is not None:
            raise Invalid("several credentials: give one", field="Authorization")
        await _check_admin_token(edge, shown.bearer)
        return await edge.gateway.operator(app_id)
    return await edge.gateway.authenticate(app_id, shown)


async def history_reader(edge: Edge, call: Call) -> Caller:
    """As `caller_of`; in development mode also those who show nothing."""
    if not call.from_operator_socket and credentials(call).absent:
        reader = await edge.gateway.development_reader(call.app_id())
        if reader is not None:
            return reader
    return await caller_of(edge, call)


async def require_operator(edge: Edge, call: Call) -> None:
    """Raises `Unauthorized`, or `Forbidden` for a credential that is no operator's."""
    if await is_operator(edge, call):
        return
    if credentials(call).absent:
        raise Unauthorized("this is for operators: use the admin socket, or an admin token (Authorization: Bearer)")
    raise Forbidden("this is for operators; an app's keys and tokens do not reach it")


async def is_operator(edge: Edge, call: Call) -> bool:
    """Raises `Unauthorized` for an admin token that is none."""
    shown = credentials(call)
    if shown.bearer is not None and looks_like_admin_token(shown.bearer):
        await _check_admin_token(edge, shown.bearer)
        return True
    return call.from_operator_socket and shown.absent


async def _check_admin_token(edge: Edge, token: str) -> None:
    if not await edge.gateway.is_operator(token):
        raise Unauthorized("the admin token is not known here")


def credentials(call: Call, query_token: str | None = None) -> Credentials:
    """What the request shows. Raises `Invalid` where one header is repeated, `Unauthorized` for another scheme."""
    return Credentials(call.single_header("x-api-key"), _bearer(call), query_token)


def _bearer(call: Call) -> str | None:
    value = call.single_header("authorization")
    if value is None:
        return None
    scheme, _, token = value.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("the Authorization header takes `Bearer` and a key or token")
    return token
