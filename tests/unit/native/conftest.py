"""The driver's functions as tools that answer on stdin and stdout, one process each a session.

What they are for: the driver's rules are the Python plane's, so both get the same inputs and must say the same. The
tools are built with sanitizers; one that sees a fault of ours dies, and the test with it.
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from driver_tool import WEBSOCKET, Tool, compile_tool

BuildTool = Callable[[str, Sequence[str]], Tool]


@pytest.fixture(scope="session")
def build_tool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildTool]:
    """`build_tool("websocket_tool", ["websocket/*.cpp"])`: native/tests/NAME.cpp with these files of native/src."""
    with ExitStack() as processes:

        def build(name: str, sources: Sequence[str]) -> Tool:
            program = compile_tool(name, sources, tmp_path_factory.mktemp(name))
            process = processes.enter_context(
                subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            processes.callback(process.kill)
            return Tool(process)

        yield build


@pytest.fixture(scope="session")
def websocket_tool(build_tool: BuildTool) -> Tool:
    """Everything of native/src/websocket."""
    return build_tool("websocket_tool", WEBSOCKET)
