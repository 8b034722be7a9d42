"""What the simulated board keeps up with: the gateware against the wall clock, in one process.

It runs some hundred times slower than a board and shares a processor with what it serves, so that
rounds of some ms stand between an event and its effect. Whoever configures more is refused.
"""

MIN_HELLO_MS = 50
"""Shortest HELLO interval of the groups whose links run through it, ms."""
MIN_MULTIPLIER = 3
"""Least HELLOs missed until a peer is down."""
MIN_LEASE_MS = 200
"""Shortest lease, ms: the longest that there is."""
MAX_FRAMES_A_SECOND = 2000
"""Fastest flood, frames/s."""
SCHEME = "sim:"
"""Before the path of its pseudo terminal, as a device of the configuration."""
