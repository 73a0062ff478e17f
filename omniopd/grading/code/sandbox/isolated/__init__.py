"""What runs in processes of its own around a program: the standard library alone, and imports within this folder.

`python -I -S` starts these modules as the package `held`, without `omniopd` and without third-party packages, so that a
program takes milliseconds to start and finds nothing beside it. That is why they import each other relatively.

    supervisor   starts a program in a mode, watches it, ends it and all that it left
    namespaces   a file system, network and process table of the program's own
    bubblewrap   the same, by bwrap
    inside       the first code within: gives up rights, starts the program, judges it
    judge        tests, in a process that the program cannot reach; `peer`, `remote` and `codec` carry the calls
    seccomp      system calls that are refused
    landlock     folders beyond which nothing is read or written
    rights       resource limits, capabilities, the end with the parent
    linux        the C library's calls
"""
