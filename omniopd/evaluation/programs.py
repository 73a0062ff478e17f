"""Moved to `omniopd.grading.code.programs`; this name works until 0.2."""

import warnings

from omniopd.grading.code.programs import *  # noqa: F403

warnings.warn(f"{__name__} is now omniopd.grading.code.programs", DeprecationWarning, stacklevel=2)
