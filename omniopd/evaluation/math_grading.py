"""Moved to `omniopd.grading.math.grader`; this name works until 0.2."""

import warnings

from omniopd.grading.math.grader import *  # noqa: F403

warnings.warn(f"{__name__} is now omniopd.grading.math.grader", DeprecationWarning, stacklevel=2)
