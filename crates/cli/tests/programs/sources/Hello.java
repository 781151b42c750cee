import java.io.IOException;
import java.net.ServerSocket;
import java.net.Socket;

/** A server, and clients one after another; each half-closes. */
public class Hello {
    public static void main(String[] args) throws Exception {
        ServerSocket listener = new ServerSocket(0);
        Thread server = new Thread(() -> {
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
        });
        server.start();
        for (int n = 0; n < 20; n++) {
            try (Socket socket = new Socket("127.0.0.1", listener.getLocalPort())) {
                socket.setTcpNoDelay(true);
                socket.getOutputStream().write(new byte[n * 1000]);
                socket.shutdownOutput();
                String answer = new String(socket.getInputStream().readAllBytes());
                if (!answer.equals("got " + n * 1000)) throw new IllegalStateException(answer);
            }
        }
        listener.close();
        server.join();
        System.out.println("ok");
    }
}
