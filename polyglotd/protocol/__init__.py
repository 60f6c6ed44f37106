"""The wire formats, as codecs and state machines over bytes: no sockets, no tasks, no clock."""
