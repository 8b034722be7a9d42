"""In a daemon's place: says how it was scheduled at its start, and its child."""

import os
import subprocess

CHILD = ("chrt", "--pid", "0")
print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0).sched_priority)
print(subprocess.check_output(CHILD, text=True).split()[-1])
