"""One step of a round in a separate process, or in several: `python -m omniopd.rounds.worker STEP RESULT ARGUMENTS`.

STEP is a function of `steps`; ARGUMENTS are JSON. The process writes the returned value or the error to the file
RESULT, and ends with its parent; no RESULT means that it died.
"""

import json
import os
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from omniopd.data.disk import naming
from omniopd.data.processes import end_with_parent
from omniopd.data.store import write_json
from omniopd.errors import OmniOPDError
from omniopd.rounds import steps
from omniopd.training import parallel


def main() -> None:
    """Run the step that the command line names."""
    end_with_parent()
    step, result, arguments = sys.argv[1:]
    with parallel.together() if "TORCHELASTIC_RUN_ID" in os.environ else nullcontext():
        content = outcome(step, json.loads(arguments))
        if not parallel.rank() or "error" in content:
            write_json(Path(result), content)
    sys.exit(1 if "error" in content else 0)


def outcome(step: str, arguments: list[Any]) -> dict[str, Any]:
    """The value that the step returned, or the name and message of its error."""
    run_dir, *rest = arguments
    paths = [[Path(path) for path in item] if isinstance(item, list) else item for item in rest]
    try:
        with naming(Path(run_dir)):
            value = getattr(steps, step)(Path(run_dir), *paths)
    except OmniOPDError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"error": "", "message": f"{type(error).__name__}: {error}"}
    return {"value": str(value) if isinstance(value, Path) else value}


if __name__ == "__main__":
    main()
