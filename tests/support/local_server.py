"""A bare server over a local cluster, to be killed: adopts every order and tells how each ended.

Run as ``python -m support.local_server FOLDER``; orders are read from ``orders.json`` there, ends are
appended to ``ends``, one line each.
"""

import os
import sys
from functools import partial
from pathlib import Path

import anyio
import msgspec

from shorepower.clusters.contract import Order
from shorepower.model.lifecycle import Observation, Operation
from support.cluster_rigs import make_local


async def serve(folder: Path) -> None:
    """Until every order has ended."""
    orders = msgspec.json.decode((folder / "orders.json").read_bytes(), type=list[Order])
    stops = {order.submission: order for order in orders if order.name == "stop"}
    cluster, left = make_local(folder), {order.submission for order in orders}

    def tell(seen: Observation) -> None:
        if seen.state.ended and seen.submission in left:
            left.discard(seen.submission)
            line = f"{seen.submission} {seen.state} {seen.reason} {seen.exit_code}\n"
            os.write(ends, line.encode())

    ends = os.open(folder / "ends", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with anyio.create_task_group() as tg:
        await tg.start(partial(_run, cluster))
        for finding in await cluster.adopt(orders):
            for seen in finding.observations:
                tell(seen)
        for order in stops.values():
            if order.submission in left:
                tg.start_soon(cluster.control, order, Operation.STOP)
        if left:
            async for batch in cluster.watch():
                for seen in batch:
                    tell(seen)
                if not left:
                    break
        tg.cancel_scope.cancel()


async def _run(cluster, *, task_status) -> None:
    await cluster.run(task_status=task_status)


if __name__ == "__main__":
    anyio.run(serve, Path(sys.argv[1]))
