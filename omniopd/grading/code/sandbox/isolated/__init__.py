"""The processes around a program: standard library only, and imports only within this folder.

`python -I -S` loads these modules as the package `isolated`, without `omniopd` and third-party packages, so that a
program starts in milliseconds and finds nothing else. That is why they import each other relatively.

    supervisor   starts a program in a mode, watches it, and ends it with everything that it left
    namespaces   a private file system, network and process table, also by bwrap
    inside       the first code in the sandbox: drops rights, starts the program, reports its end
    judge        tests, in a process that the program cannot reach; `peer`, `remote` and `codec` carry the calls
    seccomp      system calls that are refused
    landlock     folders outside which nothing is read or written
    rights       resource limits, capabilities, and ending with the parent
    linux        calls of the C library
    arrays       the names of numpy that EvalPlus's tests use
    annotations  names for annotations
"""
