"""The pure rules of a channel: its recent past, who resumes how, repeats, snapshots, presence, a member's queue.

No I/O and no clock: times come in as arguments, in microseconds since 1970. Called by the planes and the gateway.
"""
