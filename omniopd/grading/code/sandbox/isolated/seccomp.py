"""System calls that are refused: those that start processes, open sockets, affect other processes or widen rights.

Arguments are compared by their low half: the kernel reads all that are compared here as an `int`.

The filter lists refused calls, not allowed ones: Python and its C library use different calls in each version, and a
missing permission would fail correct programs. Calls newer than the table do not exist (ENOSYS).
"""

import ctypes
import errno
import os
import struct

from .linux import PR_SET_SECCOMP, prctl

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant

# linux/bpf_common.h, linux/seccomp.h
LOAD, AND, RETURN = 0x20, 0x54, 0x06
EQUAL, GREATER_OR_EQUAL, ANY_BIT = 0x15, 0x35, 0x45
ALLOW, REFUSE, ABSENT = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; of the low half, little-endian
CLONE_THREAD, SOCK_STREAM, SOCK_TYPE = 0x10000, 1, 0xF
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | 0x400000  # the last is __O_TMPFILE
# Ways to open a file that every version of landlock checks: to read, to write, and to truncate what is written. Early
# versions check neither `O_RDONLY | O_TRUNC`, which truncates a file, nor the fourth access mode.
OPENED_BITS = os.O_ACCMODE | os.O_TRUNC
OPENED = [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_TRUNC]
FIRST_UNKNOWN = 451  # the tables below end before it
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_…

# name: (number on x86_64, number on aarch64); -1 if the machine has no such call
REFUSED = {
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "setpriority": (141, 140), "ioprio_set": (251, 30), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "open_tree": (428, 428), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "fanotify_init": (300, 262),
    # Memory that no limit of a process counts.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    # The same kinds of memory of other processes, by number or name.
    "shmctl": (31, 195), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "mq_unlink": (241, 181), "get_robust_list": (274, 100),
    # Resources of which a user or the machine has a fixed number, and word of folders that cannot be listed.
    "inotify_init": (253, -1), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27), "fanotify_mark": (301, 263),
    "io_setup": (206, 0), "seccomp": (317, 277), "lookup_dcookie": (212, 18), "uselib": (134, -1),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162),
    "sync": (162, 81), "syncfs": (306, 267),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "iopl": (172, -1), "ioperm": (173, -1),
    "modify_ldt": (154, -1), "syslog": (103, 116), "vhangup": (153, 58), "personality": (135, 92),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
}  # fmt: skip

# Not covered by landlock: mode, owner, times and attributes of any file.
REFUSED_ON_SHARED_FILES = {
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, -1), "fchown": (93, 55),
    "lchown": (94, -1), "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1), "utimensat": (280, 88),
    "futimesat": (261, -1), "truncate": (76, 45), "getxattr": (191, 8), "lgetxattr": (192, 9), "fgetxattr": (193, 10),
    "listxattr": (194, 11), "llistxattr": (195, 12), "flistxattr": (196, 13),
}  # fmt: skip

# Other calls that change files, refused if there is no landlock.
REFUSED_WITHOUT_LANDLOCK = {
    "creat": (85, -1), "mkdir": (83, -1), "mkdirat": (258, 34), "unlink": (87, -1), "unlinkat": (263, 35),
    "rmdir": (84, -1), "rename": (82, -1), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, -1),
    "linkat": (265, 37), "symlink": (88, -1), "symlinkat": (266, 36), "mknod": (133, -1), "mknodat": (259, 33),
    "flock": (73, 32),
}  # fmt: skip

CLONE, CLONE3, SOCKETPAIR, PRCTL = (56, 220), (435, 435), (53, 199), (157, 167)
OF_A_PROCESS = {  # calls whose first argument is a process
    "kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "setpgid": (109, 154),
}  # fmt: skip
SIGNALS = ("kill", "tgkill")  # for which 0 is the process group
FCNTL, IOCTL = (72, 25), (16, 29)
# fcntl: copies, flags, the size of a pipe, seals. Not: owners of signals, leases, folder notices, larger pipes.
FCNTLS = [0, 1, 2, 3, 4, 1030, 1032, 1034]
LOCKS = [5, 6, 7, 36, 37, 38]  # fcntl, if no file belongs to others
# TCGETS, TCGETS2, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. Not: typing into terminals, owners of signals.
IOCTLS = [0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451]
# PR_GET_PDEATHSIG, _GET_DUMPABLE, _SET_NAME, _GET_NAME, _GET_SECCOMP, _CAPBSET_READ, _SET_ and _GET_NO_NEW_PRIVS,
# _SET_VMA. Not: the signal of the parent's end, traces, adoption, the scheduling of others.
PRCTLS = [2, 3, 15, 16, 21, 23, 38, 39, 0x53564D41]
OPEN, OPENAT, OPENAT2 = (2, -1), (257, 56), (437, 437)


def is_known(machine: str) -> bool:
    """Whether there is a table of calls for the machine (its name in `uname`)."""
    return machine in MACHINES


def refuse(*, shares_files: bool, has_landlock: bool) -> None:
    """Refuse the calls in this process from now on.

    Raises:
        OSError: the kernel has no seccomp.
    """
    code = assemble(os.uname().machine, os.getpid(), shares_files=shares_files, has_landlock=has_landlock)
    raw = b"".join(struct.pack("<HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    prctl(PR_SET_SECCOMP, 2, ctypes.byref(_Program(len(code), ctypes.cast(buffer, ctypes.c_void_p))))


def assemble(machine: str, pid: int, *, shares_files: bool, has_landlock: bool) -> list[Instruction]:
    """The filter of that process as a program of classic BPF, for x86_64 or aarch64."""
    column = list(MACHINES).index(machine)
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, MACHINES[machine]), (RETURN, 0, 0, REFUSE),
        (LOAD, 0, 0, NUMBER), (GREATER_OR_EQUAL, 0, 1, FIRST_UNKNOWN), (RETURN, 0, 0, ABSENT),
    ]  # fmt: skip
    refused = REFUSED | (REFUSED_ON_SHARED_FILES if shares_files else {})
    refused |= {} if has_landlock or not shares_files else REFUSED_WITHOUT_LANDLOCK
    rules = [(numbers, [(RETURN, 0, 0, REFUSE)]) for numbers in refused.values()]
    rules += [
        (CLONE3, [(RETURN, 0, 0, ABSENT)]),  # its flags are in memory; libc then calls clone
        (CLONE, _if_any_bit(0, CLONE_THREAD, ALLOW, REFUSE)),
        (SOCKETPAIR, _if_one_of(1, [SOCK_STREAM], mask=SOCK_TYPE)),  # others can send to any address
        (PRCTL, _if_one_of(0, PRCTLS)),
        (IOCTL, _if_one_of(1, IOCTLS)),
        (FCNTL, _if_one_of(1, FCNTLS + (LOCKS if has_landlock or not shares_files else []))),
    ]
    for name, numbers in OF_A_PROCESS.items():
        rules.append((numbers, _if_one_of(0, [pid] if name in SIGNALS else [0, pid])))
    if shares_files:
        rules.append((OPENAT2, [(RETURN, 0, 0, ABSENT)]))  # its flags are in memory
        for numbers, index in ((OPENAT, 2), (OPEN, 1)):
            decision = _if_any_bit(index, WRITES, REFUSE, ALLOW)
            if has_landlock:
                decision = _if_one_of(index, OPENED, OPENED_BITS)
            rules.append((numbers, decision))
    for numbers, decision in rules:
        if numbers[column] >= 0:
            code += [(EQUAL, 0, len(decision), numbers[column]), *decision]
    return [*code, (RETURN, 0, 0, ALLOW)]


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _if_one_of(index: int, values: list[int], mask: int = 0xFFFFFFFF) -> list[Instruction]:
    """Allow the call if the argument is one of the values, else refuse it."""
    tests = [(EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    argument = (LOAD, 0, 0, ARGUMENTS + 8 * index)
    return [argument, (AND, 0, 0, mask), *tests, (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]


def _if_any_bit(index: int, bits: int, then: int, otherwise: int) -> list[Instruction]:
    argument = (LOAD, 0, 0, ARGUMENTS + 8 * index)
    return [argument, (ANY_BIT, 0, 1, bits), (RETURN, 0, 0, then), (RETURN, 0, 0, otherwise)]
