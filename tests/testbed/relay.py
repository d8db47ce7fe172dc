"""Carry TCP connections from a socket of the host into the bed: `relay.py FD PORT`.

A socket belongs to the network namespace it was made in, whoever uses it. The listening socket was
made on the host and is inherited; each connection that it accepts is joined to 127.0.0.1:PORT in
here.
"""

from __future__ import annotations

import asyncio
import socket
import sys

_CHUNK_BYTES = 1 << 18


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(_CHUNK_BYTES):
            target.write(chunk)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
    except (ConnectionError, TimeoutError):
        target.close()


async def serve(listener: socket.socket, port: int) -> None:
    """Relay until cancelled."""

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        inner_writer.close()
        writer.close()

    server = await asyncio.start_server(join, sock=listener)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
