"""Formal proofs of the gateware's parts: what is claimed, under which assumptions, how deep.

`python -m harp_sim.proofs` runs them; `docs/gateware.md` says what is proved and what is not.
"""
