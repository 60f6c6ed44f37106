"""What our servers are measured beside passes on what it should: every message, to every member, as long as asked."""

import shutil

import pytest

from bench.daemon import Server
from bench.peers.start import Peer, floor, npm_ws, prepare_floor, prepare_npm_ws
from polyglotctl.bench.plan import Connect, Dialect, Plan, Publish, Published, Target
from polyglotctl.bench.runner import run_plan

MESSAGE_BYTES = 131


def _load(server: Server, request: str, connect: Connect, publish: Publish) -> Published:
    target = Target(
        address=server.host,
        port=server.port,
        host="peer",
        request=request,
        dialect=Dialect.RAW,
        payload_bytes=MESSAGE_BYTES,
        processes=(server.pid,),
    )
    result = run_plan(Plan(target=target, steps=(connect, publish)))[-1]
    assert isinstance(result, Published)
    assert (result.lost, result.duplicates, result.foreign, result.unanswered) == (0, 0, 0, 0)
    assert result.published > 10
    assert result.usage.processes_cpu_s[0] > 0
    return result


@pytest.fixture(params=["floor", "ws"])
def peer(request: pytest.FixtureRequest) -> Peer:
    if request.param == "floor":
        prepare_floor()
        return floor
    if shutil.which("npm") is None or not prepare_npm_ws():
        pytest.skip("there is no npm")
    return npm_ws


@pytest.mark.parametrize("frame_bytes", [60, 125, 126, 299])
def test_a_room_gets_every_message_in_frames_of_the_length_asked_for(peer: Peer, frame_bytes: int) -> None:
    with peer(frame_bytes) as server:
        publish = Publish(in_flight=3, publishers=2, warm_up_s=0, seconds=0.2)
        result = _load(server, "/", Connect(rooms=3, members=4), publish)
    assert result.event_bytes == frame_bytes
    assert result.publish_bytes == MESSAGE_BYTES


def test_an_echo_is_as_long_as_the_message(peer: Peer) -> None:
    with peer(299) as server:
        result = _load(server, "/echo", Connect(rooms=5, members=1), Publish(in_flight=1, warm_up_s=0, seconds=0.2))
    assert result.event_bytes == MESSAGE_BYTES
    assert result.acknowledgement.count > 10
