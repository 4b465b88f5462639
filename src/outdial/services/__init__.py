"""Use cases shared by the drivers (API, dialer, command line)."""
