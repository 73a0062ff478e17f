"""Peak memory of drawing splits from a file, in a process of its own, in bytes above what its imports take.

python streamed.py FILE NUM_TRAIN
"""

import sys
from pathlib import Path

from omniopd.data.columns import PLAIN
from omniopd.data.sources import source_of
from omniopd.data.split import Rules, draw

source = source_of(sys.argv[1], Path(), subset=None, split="train")


def status(name: str) -> int:
    """Bytes of that line of the process's status; ru_maxrss is at least what the parent had when it forked."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return 1024 * int(line.split()[1])


before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
draw(source, Rules(PLAIN, num_train=int(sys.argv[2]), num_validation=100, num_heldout=100), [0])
print(status("VmHWM") - before)
