/* `serve PORT`: listens at 127.0.0.1, serves one connection as an echo, closes the listener and waits for SIGTERM. */
#include "kit.h"

static void serve(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    int listener = tcp(AF_INET, 0), number;
    struct sockaddr_in address = loopback(atoi(argument[2]));
    socklen_t len = sizeof address;
    OK(bind(listener, (struct sockaddr *)&address, sizeof address));
    OK(listen(listener, 8));
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("listening");
    int fd = accept(listener, (struct sockaddr *)&address, &len);
    CHECK(fd >= 0);
    ++*made;
    printf("%s:%d\n", inet_ntoa(address.sin_addr), ntohs(address.sin_port));
    char text[64];
    long got = read_all(fd, text, sizeof text);
    EQ(write(fd, text, got), got);
    OK(close(fd));
    OK(close(listener));
    puts("closed");
    printf("%d\n", getpid());
    OK(sigwait(&set, &number));
}

CASES({"serve", serve})
