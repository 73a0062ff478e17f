"""What a command of a stage took, for the table that says where time went."""

import time
from pathlib import Path

_STARTED = time.monotonic()


def clock(stage: str, params: Path) -> None:
    """Note the seconds that this process has taken for a stage."""
    from omniopd.data.layout import Layout
    from omniopd.data.store import write_json

    write_json(Layout(params.parent).seconds(stage), {"seconds": round(time.monotonic() - _STARTED, 1)})
