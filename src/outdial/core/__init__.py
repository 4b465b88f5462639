"""Pure values, tables and rules: no IO, no clock, no randomness, no async."""
