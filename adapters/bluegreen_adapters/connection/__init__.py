"""One connection without I/O: its protocol, its sessions, its queries, and what follows a failure.

From the outside in: `connection` takes the RPCs of an application; `recovery` replays and ends queries;
`transport` sends one RPC to a stack; `session_pool` has the sessions; `evidence` says what a reply proves, and
`protocol` describes the messages.
"""
