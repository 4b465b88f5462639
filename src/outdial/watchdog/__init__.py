"""The watchdog: a process that sees what the engines send, and says and ends what should not have been sent.

It shares no code with what dials, permits or stops (import-linter holds it to that): it hears SIP from the engines
themselves (``ear``), asks the database by statements of its own (``store.watch``), decides by rules of its own
(``core.watch``), and removes permits by requests of its own (``fence``).
"""
