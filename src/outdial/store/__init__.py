"""PostgreSQL: the only floor that holds SQL."""
