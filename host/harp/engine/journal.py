"""Journal records: how a group's state is kept over a restart; octets only, the daemon has the file.

Ref: harp.md §4 (Restart Counter), §5 (base), §6 (tombstones, journal), §7 (timestamps)
"""
