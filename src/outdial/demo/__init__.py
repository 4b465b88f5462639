"""The demo: a campaign over the loopback carrier, dialed and stopped before one's eyes, or unattended.

Everything it shows is real: the API is called over HTTP, calls leave over SIP where there is an Asterisk, and whether
calls leave after the stop is counted by the engine's own records.
"""
