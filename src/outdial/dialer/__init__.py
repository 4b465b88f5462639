"""Dialer nodes: the only floor that originates calls."""
