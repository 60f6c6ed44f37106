"""The driver's functions as tools that answer on stdin and stdout, one process each a session.

What they are for: the driver's rules are the Python plane's, so both get the same inputs and must say the same. The
tools are built with sanitizers; one that sees a fault of ours dies, and the test with it.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from driver_tool import Tool
from native_build import built

StartTool = Callable[[str], Tool]


@pytest.fixture(scope="session")
def start_tool() -> Iterator[StartTool]:
    """`start_tool("websocket_tool")`: native/tests/NAME.cpp with what it uses of native/src."""
    with ExitStack() as processes:

        def start(name: str) -> Tool:
            program = built("address", name)
            process = processes.enter_context(
                subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            processes.callback(process.kill)
            return Tool(process)

        yield start


@pytest.fixture(scope="session")
def websocket_tool(start_tool: StartTool) -> Tool:
    return start_tool("websocket_tool")
