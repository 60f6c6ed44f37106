"""`/examples/…`: the example pages of development mode."""

import trio

from polyglotd.gateway.http.answer import Answer
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Route
from polyglotd.model import NotFound


async def example(edge: Edge, call: Call) -> Answer:
    if edge.examples is None:
        raise NotFound("there is no such path")  # as for any other that is not there
    name = call.params["name"]
    page = None if name is None else await trio.to_thread.run_sync(edge.examples.read, name)
    if page is None:
        raise NotFound("there is no such example")
    content, media_type = page
    return Answer(200, content, (("content-type", media_type), ("cache-control", "no-cache")))


ROUTES = [Route("GET", "/examples/{name...}", example)]
