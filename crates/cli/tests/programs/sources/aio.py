"""200 connections at once, half-closed by the client; one that is refused."""
import asyncio
import socket


async def serve(reader, writer):
    data = await reader.read()  # until the client's FIN
    writer.write(b"got %d" % len(data))
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def ask(port, n):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x" * (1000 * n))
    writer.write_eof()
    assert await reader.read() == b"got %d" % (1000 * n)
    writer.close()
    await writer.wait_closed()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=256)
    port = server.sockets[0].getsockname()[1]
    await asyncio.gather(*[ask(port, n) for n in range(200)])
    server.close()
    await server.wait_closed()
    try:
        await asyncio.open_connection("127.0.0.1", port)
        raise AssertionError("nobody listens any more")
    except ConnectionRefusedError:
        print("ok")


asyncio.run(main())
