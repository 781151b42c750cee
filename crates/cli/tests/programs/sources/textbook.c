/* A textbook server and client: socket, bind, listen, accept, read, write, close. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *host = "127.0.0.1";

static struct sockaddr_in address(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080)};
    inet_pton(AF_INET, host, &a.sin_addr);
    return a;
}

static void check(int bad, const char *what) {
    if (bad) {
        perror(what);
        exit(1);
    }
}

static int server(void) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    check(listener < 0, "socket");
    check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0, "setsockopt");
    struct sockaddr_in a = address(), peer;
    socklen_t len = sizeof peer;
    check(bind(listener, (struct sockaddr *)&a, sizeof a) < 0, "bind");
    check(listen(listener, 1) < 0, "listen");
    int connection = accept(listener, (struct sockaddr *)&peer, &len);
    check(connection < 0, "accept");
    int is_local = peer.sin_addr.s_addr == htonl(INADDR_LOOPBACK);
    check(len != sizeof peer || is_local != (a.sin_addr.s_addr == htonl(INADDR_LOOPBACK)), "peer");
    char text[100];
    ssize_t n = read(connection, text, sizeof text);
    check(n <= 0, "read");
    printf("server: %.*s\n", (int)n, text);
    fflush(stdout);
    check(write(connection, "hello from the server", 21) != 21, "write");
    check(close(connection) < 0 || close(listener) < 0, "close");
    return 0;
}

static int client(void) {
    struct sockaddr_in a = address();
    int fd, tries = 0;
    for (;;) {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        check(fd < 0, "socket");
        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) break;
        check(errno != ECONNREFUSED || ++tries == 200, "connect");
        close(fd);
        usleep(10000);
    }
    check(write(fd, "hello from the client", 21) != 21, "write");
    char text[100];
    size_t got = 0;
    for (ssize_t n; (n = read(fd, text + got, sizeof text - got)) > 0;) got += n;
    printf("client: %.*s\n", (int)got, text);
    return close(fd);
}

int main(int argc, char **argv) {
    if (argc > 2) host = argv[2];
    return argc > 1 && strcmp(argv[1], "server") == 0 ? server() : client();
}
