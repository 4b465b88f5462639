"""outdial: open, self-hosted outbound voice campaigns that stop at once, provably."""

__version__ = "0.1.0"
