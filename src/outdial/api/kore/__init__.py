"""The vendor-compatible wire, v1 and v2; the vendor's names live only here."""
