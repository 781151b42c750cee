import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;

/** A server, and clients one after another, each of which half-closes; or one of them: serve ADDRESS PORT, ask ADDRESS PORT. */
public class Hello {
    public static void main(String[] args) throws Exception {
        String role = args.length > 0 ? args[0] : "";
        String address = args.length > 1 ? args[1] : "127.0.0.1";
        int port = args.length > 2 ? Integer.parseInt(args[2]) : 0;
        if (role.equals("ask")) {
            ask(address, port);
            return;
        }
        ServerSocket listener = new ServerSocket(port, 50, InetAddress.getByName(address));
        if (role.equals("serve")) {
            serve(listener);
            return;
        }
        Thread server = new Thread(() -> serve(listener));
        server.start();
        ask(address, listener.getLocalPort());
        listener.close();
        server.join();
    }

    static void serve(ServerSocket listener) {
        try {
            while (true) {
                try (Socket connection = listener.accept()) {
                    int length = connection.getInputStream().readAllBytes().length;
                    connection.getOutputStream().write(("got " + length).getBytes());
                }
            }
        } catch (IOException closed) {
            // the listener was closed
        }
    }

    static void ask(String address, int port) throws IOException {
        for (int n = 0; n < 20; n++) {
            try (Socket socket = new Socket(address, port)) {
                socket.setTcpNoDelay(true);
                socket.getOutputStream().write(new byte[n * 1000]);
                socket.shutdownOutput();
                String answer = new String(socket.getInputStream().readAllBytes());
                if (!answer.equals("got " + n * 1000)) throw new IllegalStateException(answer);
            }
        }
        System.out.println("ok");
    }
}
