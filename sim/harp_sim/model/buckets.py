"""Token buckets, exactly.

**The rule.** A bucket has two settings in whole microseconds, `period_us` (time in which one token
grows) and `tolerance_us` ((burst - 1) x period), and one state, `due_us` (64 bits, 0 after reset).
A frame that asks at `now_us`:

- conforms if `period_us` is 0 or `now_us + tolerance_us >= due_us`;
- if it conforms, `due_us = max(now_us, due_us) + period_us`; otherwise nothing changes.

This is a bucket of `burst` tokens that grows one token in `period_us`, continuously and exactly, in
one read-modify-write and with no refill. `now_us` is the frame's judgement time. With a period of 0
the state is not touched. New settings apply to the next frame; the state stays.

Nobody takes a token from a bucket but the frame that it decides: none on a plain wire, none for a
`bad_frame`, none for a reason whose action is not decided by the bucket.

Ref: offload.md §2
"""

from harp_sim.model.config import Bucket


class Buckets:
    """State of the shared buckets and of the peers'."""

    def __init__(self, count: int) -> None:
        self.due_us = [0] * count

    def take(self, index: int, settings: Bucket, now_us: int) -> bool:
        """Take a token for a frame at `now_us`; False: there is none."""
        if settings.period_us == 0:
            return True
        due = self.due_us[index]
        if now_us + settings.tolerance_us < due:
            return False
        self.due_us[index] = max(now_us, due) + settings.period_us
        return True
