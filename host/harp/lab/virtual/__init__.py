"""A virtual network: engines and mobile nodes on simulated links, faults, invariants, sweeps."""
