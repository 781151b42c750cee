/* connect(2), blocking and not: what each stage answers, and what poll and epoll show meanwhile. */
#include "kit.h"

/* A listener whose queue is full: what else comes is left without an answer. */
static int full(int *port, int *queued)
{
    int listener = server(0, port);
    *queued = dial(*port);
    return listener;
}

static void nonblocking_stages(void)
{
    int port, listener = server(8, &port);
    int fd = tcp(AF_INET, SOCK_NONBLOCK);
    EQ(polled(fd, POLLIN | POLLOUT, 0), POLLOUT | POLLHUP);
    FAILS(dial_with(fd, port), EINPROGRESS);
    EQ(polled(fd, POLLOUT, 2000), POLLOUT);
    EQ(so_error(fd), 0);
    /* The first call after success says 0, the next EISCONN. */
    OK(dial_with(fd, port));
    FAILS(dial_with(fd, port), EISCONN);
    int served = take(listener);
    talk(fd, served);
}

static void already(void)
{
    int port, queued, listener = full(&port, &queued);
    int fd = tcp(AF_INET, SOCK_NONBLOCK);
    FAILS(dial_with(fd, port), EINPROGRESS);
    FAILS(dial_with(fd, port), EALREADY);
    EQ(polled(fd, POLLIN | POLLOUT, 100), 0);
    FAILS(write(fd, "x", 1), EAGAIN);
    FAILS(read(fd, &port, 1), EAGAIN);
    EQ(so_error(fd), 0);
    OK(close(fd));
    OK(close(queued));
    OK(close(listener));
}

/* Registered before connect, edge-triggered: nothing of a connecting socket, then EPOLLOUT once. */
static void edge(void)
{
    int port, listener = server(8, &port);
    int ep = epoll_create1(0), fd = tcp(AF_INET, SOCK_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET}, got[4];
    FAILS(dial_with(fd, port), EINPROGRESS);
    OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
    EQ(epoll_wait(ep, got, 4, 2000), 1);
    EQ(got[0].events, EPOLLOUT);
    EQ(epoll_wait(ep, got, 4, 150), 0);
    int served = take(listener);
    EQ(write(served, "abc", 3), 3);
    EQ(epoll_wait(ep, got, 4, 2000), 1);
    CHECK(got[0].events & EPOLLIN);
    CHECK(!(got[0].events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)));
    char text[4];
    EQ(read(fd, text, 4), 3);
    OK(shutdown(served, SHUT_WR));
    EQ(epoll_wait(ep, got, 4, 2000), 1);
    CHECK(got[0].events & EPOLLRDHUP && got[0].events & EPOLLIN);
    CHECK(!(got[0].events & (EPOLLHUP | EPOLLERR)));
}

/* Registered before connect: an unconnected socket is EPOLLOUT | EPOLLHUP, a connecting one is nothing. */
static void registered_before(void)
{
    int port, queued, listener = full(&port, &queued);
    int ep = epoll_create1(0), fd = tcp(AF_INET, SOCK_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET}, got[4];
    OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
    EQ(epoll_wait(ep, got, 4, 500), 1);
    EQ(got[0].events, EPOLLOUT | EPOLLHUP);
    FAILS(dial_with(fd, port), EINPROGRESS);
    /* Edges may be told twice; what they show must be true. */
    while (epoll_wait(ep, got, 4, 100) > 0) {
        EQ(got[0].events & (EPOLLOUT | EPOLLHUP | EPOLLERR), 0);
    }
    int level = epoll_create1(0);
    event.events = EPOLLIN | EPOLLOUT;
    OK(epoll_ctl(level, EPOLL_CTL_ADD, fd, &event));
    EQ(epoll_wait(level, got, 4, 100), 0);
    /* Room in the queue: the next SYN of the client is answered. */
    int served = take(listener);
    CHECK(served >= 0);
    EQ(epoll_wait(level, got, 4, 5000), 1);
    EQ(got[0].events, EPOLLOUT);
    EQ(epoll_wait(ep, got, 4, 1000), 1);
    EQ(got[0].events, EPOLLOUT);
    EQ(epoll_wait(ep, got, 4, 100), 0);
    EQ(so_error(fd), 0);
    int last = take(listener);
    talk(fd, last);
    close(queued);
}

static void refused(void)
{
    int port = closed_port();
    int fd = tcp(AF_INET, 0);
    FAILS(dial_with(fd, port), ECONNREFUSED);
    /* The call has told it: nothing is pending. */
    EQ(so_error(fd), 0);
    CHECK(polled(fd, POLLIN | POLLOUT, 0) & POLLHUP);
    OK(close(fd));
    fd = tcp(AF_INET, SOCK_NONBLOCK);
    FAILS(dial_with(fd, port), EINPROGRESS);
    int events = polled(fd, POLLIN | POLLOUT, 2000);
    EQ(events & (POLLERR | POLLHUP | POLLOUT | POLLIN), POLLERR | POLLHUP | POLLOUT | POLLIN);
    EQ(so_error(fd), ECONNREFUSED);
    EQ(so_error(fd), 0);
    OK(close(fd));
    /* Not asked by SO_ERROR, the next connect says why. */
    fd = tcp(AF_INET, SOCK_NONBLOCK);
    FAILS(dial_with(fd, port), EINPROGRESS);
    CHECK(polled(fd, POLLOUT, 2000) & POLLERR);
    FAILS(dial_with(fd, port), ECONNREFUSED);
    OK(close(fd));
}

/* The same socket, tried again after a failure. */
static void again_after_refusal(void)
{
    int port, nobody = closed_port(), listener = server(8, &port);
    int fd = tcp(AF_INET, 0);
    FAILS(dial_with(fd, nobody), ECONNREFUSED);
    FAILS(dial_with(fd, nobody), ECONNREFUSED);
    OK(dial_with(fd, port));
    int served = take(listener);
    talk(fd, served);
    close(served);
    close(fd);

    fd = tcp(AF_INET, SOCK_NONBLOCK | SOCK_CLOEXEC);
    for (int round = 0; round < 2; round++) {
        FAILS(dial_with(fd, nobody), EINPROGRESS);
        CHECK(polled(fd, POLLOUT, 2000) & POLLERR);
        EQ(so_error(fd), ECONNREFUSED);
        /* SO_ERROR has taken the reason: the next call only says that there was a failure. */
        FAILS(dial_with(fd, nobody), ECONNABORTED);
    }
    FAILS(dial_with(fd, port), EINPROGRESS);
    EQ(polled(fd, POLLOUT, 2000), POLLOUT);
    EQ(so_error(fd), 0);
    EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    served = take(listener);
    talk(fd, served);
    close(served);
    close(fd);

    /* A blocking call after one that did not block, and the other way round. */
    fd = tcp(AF_INET, SOCK_NONBLOCK);
    FAILS(dial_with(fd, nobody), EINPROGRESS);
    CHECK(polled(fd, POLLOUT, 2000) & POLLERR);
    FAILS(dial_with(fd, port), ECONNREFUSED);
    nonblocking(fd, 0);
    OK(dial_with(fd, port));
    served = take(listener);
    talk(fd, served);
    close(served);
    close(fd);
    fd = tcp(AF_INET, 0);
    FAILS(dial_with(fd, nobody), ECONNREFUSED);
    nonblocking(fd, 1);
    FAILS(dial_with(fd, port), EINPROGRESS);
    EQ(polled(fd, POLLOUT, 2000), POLLOUT);
    served = take(listener);
    nonblocking(fd, 0);
    talk(fd, served);
}

/* SO_SNDTIMEO limits connect: EINPROGRESS, and the attempt goes on. */
static void send_timeout(void)
{
    int port, queued, listener = full(&port, &queued);
    int fd = tcp(AF_INET, 0);
    timeout_of(fd, SO_SNDTIMEO, 200);
    long begun = now_ms();
    FAILS(dial_with(fd, port), EINPROGRESS);
    long took = now_ms() - begun;
    CHECK(took >= 190 && took < 1500);
    FAILS(dial_with(fd, port), EALREADY);
    int served = take(listener);
    EQ(polled(fd, POLLOUT, 5000), POLLOUT);
    OK(dial_with(fd, port));
    close(served);
    served = take(listener);
    talk(fd, served);
    close(queued);
}

static void user_timeout(void)
{
    int port, queued, listener = full(&port, &queued), limit = 1200;
    int fd = tcp(AF_INET, 0);
    OK(setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit));
    FAILS(dial_with(fd, port), ETIMEDOUT);
    OK(close(fd));
    fd = tcp(AF_INET, SOCK_NONBLOCK);
    OK(setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit));
    FAILS(dial_with(fd, port), EINPROGRESS);
    CHECK(polled(fd, POLLOUT, 5000) & POLLERR);
    EQ(so_error(fd), ETIMEDOUT);
    OK(close(fd));
    OK(close(queued));
    OK(close(listener));
}

/* Addresses that no TCP connection can go to, and wrong arguments. */
static void wrong(void)
{
    int fd = tcp(AF_INET, 0), port = closed_port();
    struct sockaddr_in address = loopback(80);
    address.sin_addr.s_addr = htonl(0xffffffff);
    FAILS(connect(fd, (struct sockaddr *)&address, sizeof address), ENETUNREACH);
    address.sin_addr.s_addr = htonl(0xe0000001);
    FAILS(connect(fd, (struct sockaddr *)&address, sizeof address), ENETUNREACH);
    address = loopback(port);
    FAILS(connect(fd, (struct sockaddr *)&address, 8), EINVAL);
    FAILS(connect(fd, (struct sockaddr *)8, sizeof address), EFAULT);
    FAILS(connect(fd, (struct sockaddr *)&address, -1), EINVAL);
    address.sin_family = AF_UNIX;
    FAILS(connect(fd, (struct sockaddr *)&address, sizeof address), EAFNOSUPPORT);
    FAILS(connect(-1, (struct sockaddr *)&address, sizeof address), EBADF);
    FAILS(connect(0, (struct sockaddr *)&address, sizeof address), ENOTSOCK);
    int listener = server(1, &port);
    FAILS(dial_with(listener, port), EISCONN);
    /* The socket is none the worse. */
    OK(dial_with(fd, port));
    int served = take(listener);
    talk(fd, served);
}

/* AF_UNSPEC ends a connection; the socket can be used again. */
static void disconnected(void)
{
    int port, listener = server(8, &port);
    int fd = dial(port), served = take(listener);
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    char byte;
    OK(connect(fd, &none, sizeof none));
    FAILS(read(served, &byte, 1), ECONNRESET);
    close(served);
    OK(dial_with(fd, port));
    served = take(listener);
    talk(fd, served);
}

/* Closed while connecting: the attempt is taken back, and nothing waits for it. */
static void closed_early(void)
{
    int port, queued, listener = full(&port, &queued);
    int fd = tcp(AF_INET, SOCK_NONBLOCK);
    FAILS(dial_with(fd, port), EINPROGRESS);
    OK(close(fd));
    fd = tcp(AF_INET, SOCK_NONBLOCK);
    FAILS(dial_with(fd, port), EINPROGRESS);
    (void)listener; /* closed by the end of the program */
}

static void *blocked_connect(void *port)
{
    int fd = tcp(AF_INET, 0);
    OK(dial_with(fd, *(int *)port));
    return (void *)(long)fd;
}

/* Blocking calls of several threads at once. */
static void threads(void)
{
    enum { THREADS = 8 };
    int port, listener = server(THREADS, &port);
    pthread_t thread[THREADS];
    for (int at = 0; at < THREADS; at++) {
        OK(pthread_create(&thread[at], NULL, blocked_connect, &port));
    }
    for (int at = 0; at < THREADS; at++) {
        int served = take(listener);
        EQ(write(served, "hello", 5), 5);
        close(served);
    }
    for (int at = 0; at < THREADS; at++) {
        void *fd;
        char text[8];
        OK(pthread_join(thread[at], &fd));
        EQ(read_all((int)(long)fd, text, 8), 5);
        close((int)(long)fd);
    }
}

/* Data before the connection: MSG_FASTOPEN connects and sends. */
static void fast_open(void)
{
    int port, listener = server(8, &port);
    struct sockaddr_in address = loopback(port);
    char text[8];
    int fd = tcp(AF_INET, 0);
    EQ(sendto(fd, "first", 5, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof address), 5);
    int served = take(listener);
    EQ(read_all(served, text, 5), 5);
    talk(fd, served);
    FAILS(sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof address), EISCONN);
    close(fd);
    close(served);
    fd = tcp(AF_INET, 0);
    struct iovec parts[2] = {{"ab", 2}, {"cde", 3}};
    struct msghdr message = {
        .msg_name = &address, .msg_namelen = sizeof address, .msg_iov = parts, .msg_iovlen = 2};
    EQ(sendmsg(fd, &message, MSG_FASTOPEN), 5);
    served = take(listener);
    EQ(read_all(served, text, 5), 5);
    OK(memcmp(text, "abcde", 5));
    talk(fd, served);
    close(fd);
    close(served);
    fd = tcp(AF_INET, 0);
    address = loopback(closed_port());
    FAILS(sendto(fd, "first", 5, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof address), ECONNREFUSED);
}

/* TCP ignores an address where it is connected. */
static void sendto_connected(void)
{
    int client, served;
    pair(&client, &served);
    struct sockaddr_in address = loopback(9);
    char text[8];
    EQ(sendto(client, "abc", 3, 0, (struct sockaddr *)&address, sizeof address), 3);
    EQ(read_all(served, text, 3), 3);
    OK(memcmp(text, "abc", 3));
    int fresh = tcp(AF_INET, 0);
    FAILS(sendto(fresh, "abc", 3, MSG_NOSIGNAL, (struct sockaddr *)&address, sizeof address), EPIPE);
}

/* The routes of a namespace that has none, or says why not: `unreachable ADDRESS ERRNO`. */
static void unreachable(void)
{
    CHECK(arguments == 4);
    struct sockaddr_in address = loopback(80);
    EQ(inet_pton(AF_INET, argument[2], &address.sin_addr), 1);
    int want = atoi(argument[3]);
    int fd = tcp(AF_INET, 0);
    FAILS(connect(fd, (struct sockaddr *)&address, sizeof address), want);
    int port, listener = server(1, &port);
    OK(dial_with(fd, port));
    CHECK(take(listener) >= 0);
}

CASES({"nonblocking_stages", nonblocking_stages}, {"already", already}, {"edge", edge},
      {"registered_before", registered_before}, {"refused", refused},
      {"again_after_refusal", again_after_refusal}, {"send_timeout", send_timeout},
      {"user_timeout", user_timeout}, {"wrong", wrong}, {"disconnected", disconnected},
      {"closed_early", closed_early}, {"threads", threads}, {"fast_open", fast_open},
      {"sendto_connected", sendto_connected}, {"unreachable", unreachable})
