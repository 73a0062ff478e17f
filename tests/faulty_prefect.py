"""`python faulty_prefect.py NUM distill …`: as `python -m flows`, with Prefect's API failing after NUM requests."""

import itertools
import sys

import httpx

import flows.runtime.server
from flows.__main__ import app
from omniopd.command import run


def refuse_after(num_requests: int) -> None:
    """Have each request of Prefect's clients but the first so many answered with 500, as by a server on a full disk."""
    from prefect.client import base

    numbers = itertools.count(1)

    def refuse(request: httpx.Request) -> None:
        if next(numbers) > num_requests:
            refused = httpx.Response(500, request=request, text="database or disk is full")
            base.PrefectResponse.from_httpx_response(refused).raise_for_status()

    def send(self, request: httpx.Request, *args, **kwargs):
        refuse(request)
        return sends(self, request, *args, **kwargs)

    async def send_async(self, request: httpx.Request, *args, **kwargs):
        refuse(request)
        return await sends_async(self, request, *args, **kwargs)

    sends, sends_async = base.PrefectHttpxSyncClient.send, base.PrefectHttpxAsyncClient.send
    base.PrefectHttpxSyncClient.send, base.PrefectHttpxAsyncClient.send = send, send_async  # pyright: ignore


def main() -> None:
    """Run the command, the client as said once the server is there."""
    num_requests, wait = int(sys.argv.pop(1)), flows.runtime.server.wait_until_ready

    def waited(server) -> None:
        wait(server)
        refuse_after(num_requests)

    flows.runtime.server.wait_until_ready = waited
    run(app)


if __name__ == "__main__":
    main()
