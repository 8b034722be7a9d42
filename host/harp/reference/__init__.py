"""What people and tools read of the tables: the Wireshark dissector and the reference page.

Both are generated (`python -m harp.reference`) and kept in `docs/`; nothing else than
`harp.tables` is known here.
"""
