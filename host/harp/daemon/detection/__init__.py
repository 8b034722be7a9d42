"""Detection beside HELLOs: sessions of FRR's bfdd, instances of keepalived (harp.md §4).

They add to the HELLO timers and never replace them: bfdd and keepalived live on when the peer's
harpd dies, and their silence says nothing of its state.
"""
