"""Programs that try to do harm: small attempts, run one after the other in one program, and others that need one each.

An attempt is the body of a function. It raises if it is refused, and returns what it reached if not.
"""

import json
import textwrap
from typing import Any

COMMON = '''
import ctypes, errno, os, platform, resource, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"

def system_call(x86, arm, *arguments):
    """What a raw system call returns; raises as os functions do."""
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(arm if ARM else x86, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def refused(*call):
    """Raises if the filter refuses the call; what the kernel answered, if it was asked."""
    try:
        return f"did it: {system_call(*call)}"
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS):
            raise
        return f"asked the kernel: {error}"
'''

READS = {
    "the secret file": "return open(GIVEN['secret_file']).read()",
    "a .env file of the project": "return open(GIVEN['env_file']).read()",
    "the source of the project": "return open(GIVEN['project'] + '/pyproject.toml').read()",
    "the list of the home": """
        names = [name for name in os.listdir(GIVEN['home']) if not os.__file__.startswith(f"{GIVEN['home']}/{name}/")]
        assert names  # if Python itself is in the home, only the path to it is visible
        return names
        """,
    "the environment of the parent": "return open(f'/proc/{GIVEN[\"parent\"]}/environ').read()",
    "the environment of any process": """
        return [open(f'/proc/{pid}/environ').read() for pid in os.listdir('/proc') if pid.isdigit()]
        """,
    "the command line of the parent": "return open(f'/proc/{GIVEN[\"parent\"]}/cmdline').read()",
    "the root of the parent": "return os.listdir(f'/proc/{GIVEN[\"parent\"]}/root')",
    "passwords": "return open('/etc/passwd').read()",
    "a symbolic link out of scratch": """
        os.symlink(GIVEN['secret_file'], 'link')
        return open('link').read()
        """,
    "a hard link out of scratch": """
        os.link(GIVEN['secret_file'], 'hard')
        return open('hard').read()
        """,
    "the attributes of the secret": "return os.listxattr(GIVEN['secret_file'])",
    "the secret by way of ..": "return open('../' * 20 + GIVEN['secret_file']).read()",
}

WRITES = {
    "a new file next to the secret": "open(GIVEN['secret_file'] + '.new', 'w').write('x')",
    "the secret file": "open(GIVEN['secret_file'], 'a').write('x')",
    "the truncated secret": "os.truncate(GIVEN['secret_file'], 0)",
    "the mode of the secret": "os.chmod(GIVEN['secret_file'], 0o777)",
    "the times of the secret": "os.utime(GIVEN['secret_file'], (1, 1))",
    "the attributes of the secret": "return refused(197, 14, GIVEN['secret_file'].encode(), b'user.omniopd')",
    "the name of the secret": "os.rename(GIVEN['secret_file'], GIVEN['secret_file'] + '.old')",
    "the secret, deleted": "os.unlink(GIVEN['secret_file'])",
    "a folder next to it": "os.mkdir(os.path.dirname(GIVEN['secret_file']) + '/folder')",
    "/dev/shm": "open('/dev/shm/omniopd-hostile', 'w').write('x')",
    "/tmp": "open('/tmp/omniopd-hostile', 'w').write('x')",
    "/var/tmp": "open('/var/tmp/omniopd-hostile', 'w').write('x')",
    "the root": "open('/omniopd-hostile', 'w').write('x')",
    "Python's own library": "open(os.__file__, 'a').write('#')",
    "a file named by /proc/self/cwd": "open('/proc/self/cwd/../omniopd-hostile', 'w').write('x')",
}

NETWORK = {
    "tcp": "socket.create_connection(('127.0.0.1', GIVEN['tcp']), timeout=2).send(b'x')",
    "tcp over IPv6": "socket.create_connection(('::1', GIVEN['tcp']), timeout=2).send(b'x')",
    "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', GIVEN['udp']))",
    "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "netlink": "socket.socket(16, socket.SOCK_RAW, 0).bind((0, 0))",
    "a unix socket": "socket.socket(socket.AF_UNIX).connect(GIVEN['unix'])",
    "an abstract unix socket": "socket.socket(socket.AF_UNIX).connect('\\0' + GIVEN['abstract'])",
    "datagrams from a pair of sockets": """
        one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        one.sendto(b'x', '\\0' + GIVEN['abstract_datagrams'])
        """,
    "a listener": "socket.create_server(('127.0.0.1', 0))",
}

PROCESSES = {
    "kills the parent": "os.kill(GIVEN['parent'], signal.SIGTERM)",
    "kills its parent": "os.kill(os.getppid() or 1, signal.SIGKILL)",
    "kills another": "os.kill(GIVEN['victim'], signal.SIGKILL)",
    "kills pid 1": "os.kill(1, signal.SIGKILL)",
    "kills all": "os.kill(-1, signal.SIGKILL)",
    "kills its group": "os.kill(0, signal.SIGTERM)",
    "kills a thread of another": "system_call(200, 130, GIVEN['victim'], 9)",
    "kills by descriptor": "signal.pidfd_send_signal(os.pidfd_open(GIVEN['victim']), signal.SIGKILL)",
    "kills by input": "import fcntl; fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, GIVEN['victim'])",
    "kills by input, as a thread": """
        import fcntl, struct
        fcntl.fcntl(os.pipe()[0], 15, struct.pack('ii', 1, GIVEN['victim']))
        """,
    "kills by input, with a signal of its choice": "import fcntl; fcntl.fcntl(os.pipe()[0], 10, 9)",
    "kills by input of a socket": """
        import fcntl, struct
        fcntl.ioctl(socket.socketpair()[0], 0x8901, struct.pack('i', GIVEN['victim']))
        """,
    "kills by input of a group": """
        import fcntl, struct
        fcntl.ioctl(socket.socketpair()[0], 0x8902, struct.pack('i', -GIVEN['victim']))
        """,
    "ties another to its processor": "return refused(157, 167, 62, 2, GIVEN['victim'], 0, 0)",
    "reads the locks of another": """
        place = (ctypes.c_size_t * 2)()
        return refused(274, 100, GIVEN['victim'], ctypes.byref(place, 0), ctypes.byref(place, 8))
        """,
    "types into a terminal": "import fcntl; fcntl.ioctl(0, 0x5412, b'x')",
    "removes semaphores of another": "return refused(66, 191, 2**30, 0, 0)",
    "removes shared memory of another": "return refused(31, 195, 2**30, 0, 0)",
    "removes messages of another": "return refused(71, 187, 2**30, 0, 0)",
    "removes a message queue of another": "return refused(241, 181, b'omniopd-none')",
    "traces another": "system_call(101, 117, 16, GIVEN['victim'], 0, 0)",
    "traces its parent": "system_call(101, 117, 16, os.getppid() or 1, 0, 0)",
    "reads the memory of its parent": """
        here = ctypes.create_string_buffer(8)
        vector = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
        system_call(310, 270, os.getppid() or 1, vector, 1, vector, 1, 0)
        """,
    "limits another": "resource.prlimit(GIVEN['parent'], resource.RLIMIT_NOFILE, (1, 1))",
    "binds another to a processor": "os.sched_setaffinity(GIVEN['parent'], {0})",
    "slows another down": "os.setpriority(os.PRIO_PROCESS, GIVEN['parent'], 19)",
    "forks": "pid = os.fork(); pid or os._exit(0)",
    "forks with vfork": "system_call(58, 220, 0x4111, 0, 0, 0, 0)",
    "clones without a thread": "system_call(56, 220, 17, 0, 0, 0, 0)",
    "starts another program": "__import__('subprocess').run(['/bin/sh', '-c', 'true'], check=True)",
    "becomes another program": "os.execv(sys.executable or '/bin/sh', ['x', '-c', 'print(1)'])",
    "leaves a daemon": """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                __import__('time').sleep(600)
            os._exit(0)
        """,
}

RIGHTS = {
    "becomes root": "assert os.getuid() != 0; os.setuid(0)",
    "takes capabilities": """
        header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
        if libc.capset(header, data):
            raise PermissionError
        """,
    "runs with a user's bit": "os.execv('/bin/su', ['su'])",
    "mounts": "system_call(165, 40, b'none', b'/', b'tmpfs', 0, 0)",
    "unmounts": "system_call(166, 39, b'/', 2)",
    "changes the root": "os.chroot('.')",
    "makes a user namespace": "system_call(272, 97, 0x10000000)",
    "makes a mount namespace": "system_call(272, 97, 0x00020000)",
    "clones into a namespace": "system_call(56, 220, 0x10000000 | 17, 0, 0, 0, 0)",
    "clones with clone3": "system_call(435, 435, (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17), 88)",
    "reads a key": "system_call(250, 219, 0, -3, 1)",
    "adds a key": "system_call(248, 217, b'user', b'omniopd', b'x', 1, -3)",
    "asks io_uring": "system_call(425, 425, 4, ctypes.create_string_buffer(120))",
    "loads a filter": "system_call(321, 280, 0, ctypes.create_string_buffer(128), 128)",
    "counts events": "system_call(298, 241, ctypes.create_string_buffer(128), 0, -1, -1, 0)",
    "faults in user space": "system_call(323, 282, 1)",
    "raises its limit of memory": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "raises its limit of time": "resource.prlimit(0, resource.RLIMIT_CPU, (10**6, 10**6))",
    "raises its limit of files": "resource.setrlimit(resource.RLIMIT_NOFILE, (10**6, 10**6))",
    "outlives its parent": "system_call(157, 167, 1, 0, 0, 0, 0)",
    "memory by name": "os.memfd_create('x')",
    "memory of System V": "system_call(29, 194, 0, 1 << 20, 0o1600)",
    "watches a folder": "return refused(294, 26, 0)",
    "has word of a folder": "import fcntl; fcntl.fcntl(os.open(os.path.dirname(os.__file__), 0), fcntl.F_NOTIFY, 2)",
    "a lease on a file": "import fcntl; fcntl.fcntl(os.open(os.__file__, 0), fcntl.F_SETLEASE, fcntl.F_RDLCK)",
    "a larger pipe": "import fcntl; fcntl.fcntl(os.pipe()[0], fcntl.F_SETPIPE_SZ, 2**20)",
    "asynchronous input and output": "return refused(206, 0, 1, ctypes.create_string_buffer(8))",
    "signals that wait": """
        assert resource.getrlimit(resource.RLIMIT_SIGPENDING) != (0, 0)
        """,
    "a message queue": "system_call(240, 180, b'omniopd', os.O_CREAT | os.O_RDWR, 0o600, 0)",
    "a device": "os.mknod('disk', 0o060600, os.makedev(8, 0))",
    "sets the clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 0)",
    "sets the name of the machine": "socket.sethostname('mine')",
}

ATTEMPTS = {"reads": READS, "writes": WRITES, "network": NETWORK, "processes": PROCESSES, "rights": RIGHTS}


def program_of_attempts(given: dict[str, Any]) -> str:
    """A program that makes every attempt, and prints for each {"refused": …} or {"reached": …}."""
    parts = [COMMON, f"GIVEN = {given!r}", "attempts, results = {}, {}"]
    for kind, attempts in ATTEMPTS.items():
        for name, body in attempts.items():
            code = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
            parts.append(f"def attempt():\n{code}\nattempts[{kind!r}, {name!r}] = attempt")
    parts.append("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for (kind, name), attempt in attempts.items():
    try:
        results[f'{kind}: {name}'] = {'reached': repr(attempt())[:2000]}
    except BaseException as error:
        results[f'{kind}: {name}'] = {'refused': f'{type(error).__name__}: {error}'}
import json
print(json.dumps({'results': results, 'environment': dict(os.environ), 'pid': os.getpid()}))
""")
    return "\n".join(parts)


def report_of(stdout: str) -> dict[str, Any]:
    """The report that the program printed last."""
    return json.loads(stdout.strip().rpartition("\n")[2])


MEMORY_BOMB = "blocks = []\nwhile True: blocks.append(bytearray(10**7))"
ENDLESS_OUTPUT = "while True: print('y' * 10**6)"
ENDLESS_ERRORS = "import sys\nwhile True: sys.stderr.write('y' * 10**6)"
IGNORES_SIGTERM = """
import signal, time
for number in set(range(1, 65)) - {9, 19, 32, 33}:
    signal.signal(number, signal.SIG_IGN)
print('begins', flush=True)
while True: time.sleep(600)
"""
BURNS_TIME = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
CLOSES_ALL = "import os, time\nos.closerange(0, 1000)\ntime.sleep(600)"
RECURSION = "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return [f(n + 1)]\nf(0)"
RECURSION_IN_C = (
    "import sys\nsys.setrecursionlimit(10**9)\nx, y = [], []\nfor _ in range(10**6): x, y = [x], [y]\nx == y"
)
THREAD_BOMB = """
import threading, time
threading.stack_size(32768)
for _ in range(100_000): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
time.sleep(600)
"""
FORK_BOMB = """
import os
forked = 0
while True:
    try:
        os.fork()
        forked += 1
    except OSError:
        break
print(forked)
"""
ONE_BIG_FILE = "file = open('big', 'wb')\nwhile True: file.write(bytes(10**6))"
MANY_FILES = """
import time
for i in range(10**6):
    with open(f'{i}', 'wb') as file: file.write(bytes(10**6))
"""
MANY_NAMES = "import os\nfor i in range(10**7): os.mkdir(str(i), 0o000)"
LONG_PATHS = """
import os
for i in range(10**4):
    os.mkdir('d' * 200)
    os.chdir('d' * 200)
"""
DEEP_FOLDERS = """
import os
for i in range(300):
    os.mkdir('d')
    os.chdir('d')
print('deep')
"""
