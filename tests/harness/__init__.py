"""Runs real PostgreSQL 14-18 servers and proves a rewind right. See tests/README.md."""
