"""Boards: synthesis, place and route, reports."""
