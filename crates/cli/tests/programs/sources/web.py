"""http.server with threads, asked by threads."""
import http.server
import threading
import urllib.request

DATA = bytes(range(256)) * 300


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
failures = []


def client():
    try:
        for _ in range(10):
            with urllib.request.urlopen("http://127.0.0.1:%d/" % server.server_address[1]) as answer:
                assert answer.read() == DATA
    except Exception as error:
        failures.append(error)


threads = [threading.Thread(target=client) for _ in range(10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
server.shutdown()
server.server_close()
print("ok")
