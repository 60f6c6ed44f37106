"""Who may do what: an API key by its scopes, a user by the kind's policy and the token, an operator everything.

Asked for callers over HTTP and for the subscriptions of connections. The checks raise `Forbidden`, whose words say
what is missing.
"""

from polyglotd.access.api_keys import check_scope
from polyglotd.access.capabilities import Access, effective
from polyglotd.access.grant import UserGrant
from polyglotd.gateway.callers import Caller, Credential, KeyCaller, OperatorCaller, UserCaller
from polyglotd.gateway.directory import Entry
from polyglotd.model import Forbidden, Policy, Scope, kind_of

NOTHING = Access(may_join=False, may_publish=False, sees_presence=False)
READING = Access(may_join=True, may_publish=False, sees_presence=False)


def access_of(credential: Credential, entry: Entry, channel: str) -> Access:
    """What a connection may do in a channel. One without a user is a stream: it reads, if its key may."""
    policy = entry.policy(kind_of(channel))
    if policy is None:
        return NOTHING
    if isinstance(credential, UserGrant):
        return effective(policy, credential, channel)
    return READING if credential is None or "read" in credential.scopes else NOTHING


def check_publish(caller: Caller, channel: str, policy: Policy) -> None:
    match caller:
        case UserCaller():
            effective(policy, caller.credential, channel).check_publish()
        case KeyCaller():
            check_scope(caller.credential, "publish")
        case OperatorCaller():
            pass


def check_read(caller: Caller, channel: str, policy: Policy) -> None:
    """To read or follow a channel; for users, `join` covers history."""
    match caller:
        case UserCaller():
            effective(policy, caller.credential, channel).check_join()
        case KeyCaller():
            check_scope(caller.credential, "read")
        case OperatorCaller():
            pass


def check_presence(caller: Caller, channel: str, policy: Policy) -> None:
    match caller:
        case UserCaller():
            effective(policy, caller.credential, channel).check_presence()
        case KeyCaller():
            check_scope(caller.credential, "presence")
        case OperatorCaller():
            pass


def check_app_wide(caller: Caller, scope: Scope) -> None:
    """What concerns the whole app, or other users: no user's token suffices."""
    match caller:
        case UserCaller():
            raise Forbidden("this takes an API key; a user's token does not suffice")
        case KeyCaller():
            check_scope(caller.credential, scope)
        case OperatorCaller():
            pass
