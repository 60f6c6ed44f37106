"""Load on a server, and what came of it: `polyglotctl bench`, and `python -m bench` of a checkout.

`worker` is a process of its own that loads the generator (C++, `library`) and runs a `plan`; `runner` starts it and
passes on what it says. `figures` turns that into rates. Nothing of the generator runs in the process of the command
line: its one thread must have a core to itself.
"""
