"""The bwrap command line for the same sandbox as `namespaces`."""

from .namespaces import DEVICES, NOBODY, SCRATCH


def command(bwrap: str, readable: list[str]) -> list[str]:
    """bwrap with its options, without the command to run in it.

    It keeps the one capability with which `inside` mounts a scratch folder of limited size and which it then drops.
    """
    options = [
        "--unshare-all", "--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox",
        "--die-with-parent", "--as-pid-1", "--new-session", "--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN",
    ]  # fmt: skip
    for path in readable:
        options += ["--ro-bind", path, path]
    for path in DEVICES:
        options += ["--dev-bind", path, path]
    options += ["--dir", SCRATCH, "--remount-ro", "/", "--chdir", SCRATCH]
    return [bwrap, *options, "--"]
