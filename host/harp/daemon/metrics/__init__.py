"""Prometheus metrics of harpd, served from its own loop."""
