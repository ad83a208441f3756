"""The floor of a batch of model calls: an aiohttp loop that keeps nothing. ``bare_loop.py URL ROWS CONCURRENCY``

Prints the CPU seconds of the calls, without start-up.
"""

import asyncio
import json
import sys
import time

import aiohttp

URL, ROWS, CONCURRENCY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


async def main() -> float:
    rows = iter(range(ROWS))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:

        async def work() -> None:
            for row in rows:
                body = {"messages": [{"role": "user", "content": f"How many apples are in basket {row}?"}]}
                async with session.post(f"{URL}/v1/chat/completions", json=body) as response:
                    await response.json()

        cpu = time.process_time()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return time.process_time() - cpu


print(json.dumps({"cpu": asyncio.run(main())}))
