"""Moved to `omniopd.grading.code.sandbox`; this name works until 0.2."""

import warnings

from omniopd.grading.code.sandbox import *  # noqa: F403

warnings.warn(f"{__name__} is now omniopd.grading.code.sandbox", DeprecationWarning, stacklevel=2)
