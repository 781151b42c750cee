"""A server that forks for each connection, clients in threads, and the port bound again at once."""
import socket
import socketserver
import threading


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


class Server(socketserver.ForkingTCPServer):
    allow_reuse_address = True


server = Server(("127.0.0.1", 0), Handler)
port = server.server_address[1]
threading.Thread(target=server.serve_forever, daemon=True).start()
failures = []


def client(n):
    try:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            sock.sendall(b"hello %d\n" % n)
            assert sock.recv(100) == b"HELLO %d\n" % n
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(10) == b""
    except Exception as error:
        failures.append(error)


threads = [threading.Thread(target=client, args=(n,)) for n in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
server.shutdown()
server.server_close()
Server(("127.0.0.1", port), Handler).server_close()
print("ok")
