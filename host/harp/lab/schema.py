"""The version of what the laboratory prints as JSON."""

SCHEMA = 1
"""It grows when a key goes away or changes its meaning."""
