"""Shortens what nextpnr's placement leaves too long: few cells, moved by what they cost in time."""
