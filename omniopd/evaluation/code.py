"""Moved to `omniopd.grading.code.grader`; this name works until 0.2."""

import warnings

from omniopd.grading.code.grader import *  # noqa: F403

warnings.warn(f"{__name__} is now omniopd.grading.code.grader", DeprecationWarning, stacklevel=2)
