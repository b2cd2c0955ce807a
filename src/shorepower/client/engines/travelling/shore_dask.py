"""A scheduler, or a worker, of Dask as a job. It travels with the job, whose Python needs distributed.

Arguments: ``scheduler HOST ALONE_S``, or ``worker HOST ADDRESS THREADS MEMORY``; HOST is ``-`` for the
machine's own address. Certificate and key come in the secret ``DASK_IDENTITY``: who does not hold them
can neither connect nor be connected to.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile

MARK = "shorepower-dask "
CLOSE_S = 10
START_S = 120


def main():
    sys.path[0] = os.getcwd()  # the project: its modules go by name
    identity = os.environ.pop("DASK_IDENTITY")
    import dask

    # Pages of state that anybody on the machine could read.
    dask.config.set({"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []})
    from distributed import Security

    certificate, key = identity.split("\n\n", 1)
    security = Security(
        require_encryption=True,
        tls_ca_file=certificate,
        tls_scheduler_cert=certificate,
        tls_scheduler_key=key,
        tls_worker_cert=certificate,
        tls_worker_key=key,
        tls_client_cert=certificate,
        tls_client_key=key,
    )
    role, host = sys.argv[1], None if sys.argv[2] == "-" else sys.argv[2]
    asyncio.run({"scheduler": scheduler, "worker": worker}[role](host, security, *sys.argv[3:]))


async def scheduler(host, security, alone_s):
    from distributed import Scheduler

    async with Scheduler(
        host=host, protocol="tls", security=security, dashboard=False, dashboard_address="127.0.0.1:0"
    ) as running:
        print(MARK + running.address, flush=True)
        await until_over(running, alone(running, float(alone_s)))


async def alone(running, patience_s):
    """Until there has been no client for so long."""
    left = patience_s
    while left > 0:
        await asyncio.sleep(1)
        left = patience_s if any(name != "fire-and-forget" for name in running.clients) else left - 1
    print("no client any more", flush=True)


async def worker(host, security, address, threads, memory):
    from distributed import Worker

    scratch = tempfile.mkdtemp(prefix="dask-")
    try:
        async with Worker(
            address,
            host=host,
            protocol="tls",
            security=security,
            nthreads=int(threads),
            name=os.environ.get("SHOREPOWER_TASK_INDEX", "0"),
            memory_limit=int(memory) or "auto",
            local_directory=scratch,
            dashboard=False,
            dashboard_address="127.0.0.1:0",
            death_timeout=START_S,
        ) as running:
            await until_over(running)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


async def until_over(running, *others):
    """Until it ends by itself, or is told to."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    waits = [running.finished(), told.wait(), *others]
    _, rest = await asyncio.wait(map(asyncio.ensure_future, waits), return_when=asyncio.FIRST_COMPLETED)
    for one in rest:
        one.cancel()
    try:
        await asyncio.wait_for(running.close(), CLOSE_S)
    except asyncio.TimeoutError:
        os._exit(1)


if __name__ == "__main__":
    main()
