"""`python -m harp_sim.proofs [NAME …]`: runs proofs, one line each; exit 1 if one does not hold."""

from __future__ import annotations

import sys

from harp_sim.proofs.catalogue import PROOFS
from harp_sim.proofs.runner import ProofError, prove


def main(names: list[str]) -> int:
    """Proofs of these names; all if there are none. Exit 2 for an unknown name."""
    known = {proof.name: proof for proof in PROOFS}
    unknown = set(names) - set(known)
    if unknown:
        print(f"no such proof: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    failed = False
    for name in names or known:
        try:
            result = prove(known[name])
            said = "holds" if result.holds else f"FAILS at {result.where}"
            times = ", ".join(f"{mode} {took} s" for mode, took in result.seconds.items())
            failed |= not result.holds
        except ProofError as error:
            said, times, failed = f"BROKEN: {error}", "", True
        print(f"{name}: {said} ({times})", flush=True)
    return int(failed)


sys.exit(main(sys.argv[1:]))
