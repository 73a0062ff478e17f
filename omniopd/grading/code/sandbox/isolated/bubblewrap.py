"""The command line of bwrap that makes what `namespaces` makes."""

from .namespaces import DEVICES, NOBODY, SCRATCH


def command(bwrap: str, readable: list[str]) -> list[str]:
    """bwrap with its options; the command to run in it follows.

    It keeps the one capability that `inside` needs to mount a scratch folder of limited size, and gives up at once.
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
