"""The Kore Campaign Management wire, v1 and v2. The vendor's names and shapes live here and nowhere else."""
