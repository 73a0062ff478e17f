"""Peak memory of drawing splits from a file, in a process of its own, in bytes above what its imports take.

python streamed.py FILE NUM_TRAIN
"""

import resource
import sys
from pathlib import Path

from omniopd.data.columns import PLAIN
from omniopd.data.sources import source_of
from omniopd.data.split import Rules, draw

source = source_of(sys.argv[1], Path(), subset=None, split="train")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
draw(source, Rules(PLAIN, num_train=int(sys.argv[2]), num_validation=100, num_heldout=100), [0])
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
