"""Neighbor discovery for mobile nodes that are away (RFC 6275 §10.4.1)."""
