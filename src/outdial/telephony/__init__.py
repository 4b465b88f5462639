"""Engines: the port the dialer needs, and its adapters."""
