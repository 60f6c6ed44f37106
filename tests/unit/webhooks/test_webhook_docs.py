"""The receiver that docs/webhooks.md shows, run against what we send."""

import re
from pathlib import Path
from typing import Any

import pytest

from polyglotd.access.webhook_secrets import check_webhook_secret, signature_headers
from polyglotd.model import Event, now_us
from polyglotd.model.webhooks import message_body, published_item

PAGE = Path(__file__).parents[3] / "docs/webhooks.md"


def test_the_example_of_a_receiver_takes_what_is_signed_once_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    event = Event("evt_1", "shop", "room:lobby", "ep", 57, "message", b'{"text":"Hello"}', "ann", now_us())
    body = message_body([published_item(event)], now_us())
    headers = dict(signature_headers("msg_1", body, [check_webhook_secret(names["SECRET"])], now_us()))
    assert names["receive"](headers, body) == 204
    assert names["receive"](headers, body) == 204
    assert capsys.readouterr().out == "room:lobby 57 {'text': 'Hello'}\n"
    assert names["receive"](headers, body.replace(b"Hello", b"Hallo")) == 400
