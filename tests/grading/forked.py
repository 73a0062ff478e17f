"""Many programs, each in a sandbox of its own, started by forks of one process that has loaded the supervisor.

Code and mode are those of `run_program`; only the two interpreters that it starts for each program are shared.
"""

import marshal
import subprocess
from collections.abc import Sequence

from omniopd.grading.code.sandbox import Limits, Outcome, Tests, mode_of_this_machine, run

MAX_S = 300
HOST = """
import io, marshal, os, sys
sys.path.append(sys.argv[1])
from isolated import inside, judge, supervisor

def continued(_python, command, environment):
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", command[-1]]
    inside.main()

os.execve = continued
results, host = [], os.getpid()
for job in marshal.loads(sys.stdin.buffer.read()):
    reads, writes = os.pipe()
    if not os.fork():
        os.close(reads)
        os.setsid()
        sys.stdin = io.TextIOWrapper(io.BytesIO(marshal.dumps(job | {"caller": host})))
        sys.stdout = os.fdopen(writes, "w")
        supervisor.main()
        sys.stdout.flush()
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        results.append(pipe.read())
    os.wait()
sys.stdout.buffer.write(marshal.dumps(results))
"""


def outcomes(cases: Sequence[tuple[str, Tests]], limits: Limits) -> list[Outcome]:
    """How each program did in its tests, in the strongest mode of this machine."""
    mode = mode_of_this_machine().name
    jobs = [run.job_of(mode, program, limits=limits, tests=tests) for program, tests in cases]
    done = subprocess.run(
        [jobs[0]["python"], "-I", "-S", "-X", "utf8", "-c", HOST, str(run.CODE)],
        input=marshal.dumps(jobs), stdout=subprocess.PIPE, env={}, check=True, timeout=MAX_S,
    )  # fmt: skip
    results = [run._read(marshal.loads(result)) for result in marshal.loads(done.stdout)]
    assert all(result["began"] for result in results)
    return [run._outcome(result, job) for result, job in zip(results, jobs, strict=True)]
