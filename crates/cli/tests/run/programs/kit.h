/* What the programs of these tests share: checks that say where they failed, a count of the TCP sockets made, and
 * the table of cases. `program CASE` runs one, prints "sockets N" and exits with 0. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static void fail(const char *file, int line, const char *what, long got, int error)
{
    dprintf(2, "%s:%d: %s (got %ld, errno %d %s)\n", file, line, what, got, error, strerror(error));
    exit(1);
}

/* A condition that must hold. */
#define CHECK(condition) \
    do { errno = 0; if (!(condition)) fail(__FILE__, __LINE__, #condition, 0, errno); } while (0)
/* A call or value that must come to `want`. */
#define EQ(call, want) \
    do { errno = 0; long got_ = (long)(call); if (got_ != (long)(want)) \
        fail(__FILE__, __LINE__, #call " == " #want, got_, errno); } while (0)
/* A call that must succeed, with 0. */
#define OK(call) EQ(call, 0)
/* A call that must fail with `error`. */
#define FAILS(call, error) \
    do { errno = 0; long got_ = (long)(call); if (got_ != -1 || errno != (error)) \
        fail(__FILE__, __LINE__, #call " fails with " #error, got_, errno); } while (0)

/* How many TCP sockets this program and its forked children were given. */
static int *made;

static UNUSED int tcp(int family, int flags)
{
    int fd = socket(family, SOCK_STREAM | flags, 0);
    CHECK(fd >= 0);
    __atomic_add_fetch(made, 1, __ATOMIC_SEQ_CST);
    return fd;
}

static UNUSED int take4(int listener, int flags)
{
    int fd = accept4(listener, NULL, NULL, flags);
    if (fd >= 0) {
        int error = errno;
        __atomic_add_fetch(made, 1, __ATOMIC_SEQ_CST);
        errno = error;
    }
    return fd;
}

static UNUSED int take(int listener)
{
    return take4(listener, 0);
}

static UNUSED struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static UNUSED int port_of(int fd)
{
    struct sockaddr_in6 address;
    socklen_t len = sizeof address;
    OK(getsockname(fd, (struct sockaddr *)&address, &len));
    return ntohs(address.sin6_port);
}

/* A listener at 127.0.0.1 with a port of the system's choice. */
static UNUSED int server(int backlog, int *port)
{
    int fd = tcp(AF_INET, 0);
    struct sockaddr_in address = loopback(0);
    OK(bind(fd, (struct sockaddr *)&address, sizeof address));
    OK(listen(fd, backlog));
    *port = port_of(fd);
    return fd;
}

static UNUSED int dial_with(int fd, int port)
{
    struct sockaddr_in address = loopback(port);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

/* A socket connected to 127.0.0.1. */
static UNUSED int dial(int port)
{
    int fd = tcp(AF_INET, 0);
    OK(dial_with(fd, port));
    return fd;
}

/* Both ends of one connection. */
static UNUSED void pair(int *client, int *served)
{
    int port, listener = server(8, &port);
    *client = dial(port);
    *served = take(listener);
    CHECK(*served >= 0);
    OK(close(listener));
}

/* A port of 127.0.0.1 that nobody listens on. */
static UNUSED int closed_port(void)
{
    int fd = tcp(AF_INET, 0);
    struct sockaddr_in address = loopback(0);
    OK(bind(fd, (struct sockaddr *)&address, sizeof address));
    int port = port_of(fd);
    OK(close(fd));
    return port;
}

static UNUSED int so_error(int fd)
{
    int error = -1;
    socklen_t len = sizeof error;
    OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
    EQ(len, sizeof error);
    return error;
}

/* What poll says within `ms`; 0 if nothing. */
static UNUSED int polled(int fd, int events, int ms)
{
    struct pollfd pollfd = {.fd = fd, .events = events};
    int n = poll(&pollfd, 1, ms);
    CHECK(n >= 0);
    return n ? pollfd.revents : 0;
}

static UNUSED void nonblocking(int fd, int on)
{
    int flags = fcntl(fd, F_GETFL);
    OK(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

static UNUSED void timeout_of(int fd, int option, int ms)
{
    struct timeval time = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    OK(setsockopt(fd, SOL_SOCKET, option, &time, sizeof time));
}

static UNUSED void linger_zero(int fd)
{
    struct linger linger = {1, 0};
    OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
}

static UNUSED void pause_ms(int ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&time, &time) < 0 && errno == EINTR) {
    }
}

static UNUSED long now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Waits for a child that must exit with 0. */
static UNUSED void child_is_well(pid_t pid)
{
    int status;
    EQ(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        fail(__FILE__, __LINE__, "a child was ended by a signal", WTERMSIG(status), 0);
    }
    EQ(WEXITSTATUS(status), 0);
}

/* Reads until `want` has come or the stream has ended. */
static UNUSED long read_all(int fd, char *to, long want)
{
    long got = 0;
    while (got < want) {
        long n = read(fd, to + got, want - got);
        if (n < 0 && errno == EAGAIN) {
            CHECK(polled(fd, POLLIN, 5000));
            continue;
        }
        CHECK(n >= 0);
        if (n == 0) {
            break;
        }
        got += n;
    }
    return got;
}

/* Both ends know the other well: a word each way. */
static UNUSED void talk(int a, int b)
{
    char word[8];
    EQ(write(a, "ping", 4), 4);
    EQ(read_all(b, word, 4), 4);
    OK(memcmp(word, "ping", 4));
    EQ(write(b, "pong", 4), 4);
    EQ(read_all(a, word, 4), 4);
    OK(memcmp(word, "pong", 4));
}

/* One connection from its beginning to its end. */
static UNUSED void meet(int port, int listener)
{
    int client = dial(port), served = take(listener);
    CHECK(served >= 0);
    talk(client, served);
    OK(close(client));
    OK(close(served));
}

struct test {
    const char *name;
    void (*run)(void);
};

#define CASES(...) \
    int main(int argc, char **argv) \
    { \
        static const struct test cases[] = {__VA_ARGS__}; \
        return run_case(cases, sizeof cases / sizeof *cases, argc, argv); \
    }

static int arguments;
static char **argument;

static UNUSED int run_case(const struct test *cases, size_t count, int argc, char **argv)
{
    made = mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    arguments = argc;
    argument = argv;
    for (size_t at = 0; argc > 1 && at < count; at++) {
        if (strcmp(argv[1], cases[at].name) == 0) {
            cases[at].run();
            printf("sockets %d\n", *made);
            return 0;
        }
    }
    for (size_t at = 0; at < count; at++) {
        fprintf(stderr, "%s\n", cases[at].name);
    }
    return 2;
}
