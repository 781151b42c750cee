/* Listeners and accept(2): queues, limits, names, families, ends. */
#include "kit.h"

/* How many of ten connections get in while nobody accepts: Linux takes backlog + 1. */
static int admitted(int port)
{
    int fds[10], in = 0;
    for (int at = 0; at < 10; at++) {
        fds[at] = tcp(AF_INET, SOCK_NONBLOCK);
        FAILS(dial_with(fds[at], port), EINPROGRESS);
        if (polled(fds[at], POLLOUT, at ? 150 : 1000) & POLLOUT) {
            in++;
        } else {
            at = 10;
        }
    }
    return in;
}

static void backlog(void)
{
    for (int limit = 0; limit < 4; limit += limit + 1) {
        int port, listener = server(limit, &port);
        EQ(admitted(port), limit + 1);
        OK(close(listener));
    }
}

/* A second listen changes the limit. */
static void listen_twice(void)
{
    int port, listener = server(0, &port);
    EQ(admitted(port), 1);
    OK(listen(listener, 3));
    EQ(admitted(port), 3);
    for (int at = 0; at < 4; at++) {
        OK(close(take(listener)));
    }
    meet(port, listener);
}

static void would_block(void)
{
    int port, listener = server(8, &port);
    nonblocking(listener, 1);
    FAILS(take(listener), EAGAIN);
    EQ(polled(listener, POLLIN, 0), 0);
    int client = dial(port);
    EQ(polled(listener, POLLIN, 2000), POLLIN);
    int other = dial(port);
    int served = take4(listener, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK(served >= 0);
    EQ(fcntl(served, F_GETFD), FD_CLOEXEC);
    CHECK(fcntl(served, F_GETFL) & O_NONBLOCK);
    EQ(polled(listener, POLLIN, 2000), POLLIN);
    int second = take(listener);
    CHECK(second >= 0);
    EQ(fcntl(second, F_GETFD), 0);
    CHECK(!(fcntl(second, F_GETFL) & O_NONBLOCK));
    FAILS(take(listener), EAGAIN);
    EQ(polled(listener, POLLIN, 0), 0);
    talk(client, served);
    talk(other, second);
    FAILS(accept4(listener, NULL, NULL, 0x10), EINVAL);
    FAILS(accept(client, NULL, NULL), EINVAL);
    FAILS(accept(0, NULL, NULL), ENOTSOCK);
}

/* Edge-triggered: one edge for each that comes. */
static void edge(void)
{
    int port, listener = server(8, &port), ep = epoll_create1(0);
    nonblocking(listener, 1);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET}, got[4];
    OK(epoll_ctl(ep, EPOLL_CTL_ADD, listener, &event));
    EQ(epoll_wait(ep, got, 4, 50), 0);
    int clients[3];
    for (int at = 0; at < 3; at++) {
        clients[at] = dial(port);
    }
    int served = 0;
    while (served < 3) {
        EQ(epoll_wait(ep, got, 4, 2000), 1);
        EQ(got[0].events, EPOLLIN);
        int fd;
        while ((fd = take(listener)) >= 0) {
            served++;
            close(fd);
        }
        FAILS(take(listener), EAGAIN);
    }
    EQ(epoll_wait(ep, got, 4, 50), 0);
    int last = dial(port);
    EQ(epoll_wait(ep, got, 4, 2000), 1);
    CHECK(take(listener) >= 0);
    close(last);
    for (int at = 0; at < 3; at++) {
        close(clients[at]);
    }
}

static void receive_timeout(void)
{
    int port, listener = server(8, &port);
    timeout_of(listener, SO_RCVTIMEO, 200);
    long begun = now_ms();
    FAILS(take(listener), EAGAIN);
    long took = now_ms() - begun;
    CHECK(took >= 190 && took < 1500);
    int client = dial(port), served = take(listener);
    talk(client, served);
    /* It is not for what was accepted: that waits as it is told. */
    timeout_of(client, SO_RCVTIMEO, 150);
    begun = now_ms();
    char byte;
    FAILS(read(client, &byte, 1), EAGAIN);
    took = now_ms() - begun;
    CHECK(took >= 140 && took < 1500);
    struct timeval time;
    socklen_t len = sizeof time;
    OK(getsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &time, &len));
    CHECK(time.tv_sec == 0 && time.tv_usec >= 150000 && time.tv_usec < 160000);
}

/* Closed with connections in its queue: their peers are reset, and the port is free at once. */
static void closed_with_queue(void)
{
    int port, listener = server(8, &port);
    int first = dial(port), second = dial(port);
    EQ(write(first, "x", 1), 1);
    OK(close(listener));
    char byte;
    timeout_of(first, SO_RCVTIMEO, 3000);
    timeout_of(second, SO_RCVTIMEO, 3000);
    FAILS(read(first, &byte, 1), ECONNRESET);
    FAILS(read(second, &byte, 1), ECONNRESET);
    close(first);
    close(second);
    listener = tcp(AF_INET, 0);
    int on = 1;
    OK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    struct sockaddr_in address = loopback(port);
    OK(bind(listener, (struct sockaddr *)&address, sizeof address));
    OK(listen(listener, 8));
    meet(port, listener);
}

/* Again and again on one port, without a connection. */
static void bound_again(void)
{
    int port, listener = server(8, &port);
    struct sockaddr_in address = loopback(port);
    for (int round = 0; round < 20; round++) {
        int other = tcp(AF_INET, 0);
        FAILS(bind(other, (struct sockaddr *)&address, sizeof address), EADDRINUSE);
        OK(close(other));
        OK(close(listener));
        int fd = tcp(AF_INET, 0);
        FAILS(dial_with(fd, port), ECONNREFUSED);
        OK(close(fd));
        listener = tcp(AF_INET, 0);
        OK(bind(listener, (struct sockaddr *)&address, sizeof address));
        OK(listen(listener, 8));
    }
    meet(port, listener);
}

/* The peer has gone, in order or not, before accept. */
static void gone_before_accept(void)
{
    int port, listener = server(8, &port);
    int client = dial(port);
    EQ(write(client, "last", 4), 4);
    OK(close(client));
    client = dial(port);
    linger_zero(client);
    OK(close(client));
    pause_ms(50);
    char text[8];
    int served = take(listener);
    EQ(read_all(served, text, 8), 4);
    OK(close(served));
    served = take(listener);
    CHECK(served >= 0);
    FAILS(read(served, text, 1), ECONNRESET);
    EQ(read(served, text, 1), 0);
}

static void *blocked_accept(void *listener)
{
    return (void *)(long)(take(*(int *)listener) < 0 ? errno : 0);
}

/* shutdown wakes who waits in accept, with EINVAL; the port stays bound. */
static void shut_down(void)
{
    int port, listener = server(8, &port);
    pthread_t thread;
    void *result;
    OK(pthread_create(&thread, NULL, blocked_accept, &listener));
    pause_ms(100);
    OK(shutdown(listener, SHUT_RD));
    OK(pthread_join(thread, &result));
    EQ((long)result, EINVAL);
    FAILS(take(listener), EINVAL);
    int fd = tcp(AF_INET, 0);
    FAILS(dial_with(fd, port), ECONNREFUSED);
    OK(close(fd));
    OK(listen(listener, 8));
    meet(port_of(listener), listener);
}

static void name_is(int fd, int (*call)(int, struct sockaddr *, socklen_t *), const char *ip, int port)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    char text[64];
    OK(call(fd, (struct sockaddr *)&address, &len));
    if (address.ss_family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
        EQ(len, sizeof *v4);
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        EQ(ntohs(v4->sin_port), port);
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
        EQ(len, sizeof *v6);
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        EQ(ntohs(v6->sin6_port), port);
    }
    if (strcmp(text, ip) != 0) {
        fail(__FILE__, __LINE__, text, 0, 0);
    }
}

static void names(void)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    int fd = tcp(AF_INET, 0);
    name_is(fd, getsockname, "0.0.0.0", 0);
    FAILS(getpeername(fd, (struct sockaddr *)&address, &len), ENOTCONN);
    struct sockaddr_in any = {.sin_family = AF_INET};
    OK(bind(fd, (struct sockaddr *)&any, sizeof any));
    int port = port_of(fd);
    CHECK(port > 0);
    name_is(fd, getsockname, "0.0.0.0", port);
    FAILS(bind(fd, (struct sockaddr *)&any, sizeof any), EINVAL);
    OK(listen(fd, 8));
    name_is(fd, getsockname, "0.0.0.0", port);
    FAILS(getpeername(fd, (struct sockaddr *)&address, &len), ENOTCONN);
    int client = tcp(AF_INET, 0);
    OK(dial_with(client, port));
    int mine = port_of(client);
    name_is(client, getsockname, "127.0.0.1", mine);
    name_is(client, getpeername, "127.0.0.1", port);
    len = sizeof address;
    int served = accept(fd, (struct sockaddr *)&address, &len);
    CHECK(served >= 0);
    ++*made;
    EQ(len, sizeof(struct sockaddr_in));
    EQ(ntohs(((struct sockaddr_in *)&address)->sin_port), mine);
    EQ(((struct sockaddr_in *)&address)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    name_is(served, getsockname, "127.0.0.1", port);
    name_is(served, getpeername, "127.0.0.1", mine);
    /* A buffer that is too short gets what fits, and the whole length. */
    char small[6];
    len = 4;
    memset(small, 'x', sizeof small);
    OK(getsockname(served, (struct sockaddr *)small, &len));
    EQ(len, sizeof(struct sockaddr_in));
    EQ(small[4], 'x');
    len = -1;
    FAILS(getsockname(served, (struct sockaddr *)small, &len), EINVAL);
    len = sizeof address;
    FAILS(getsockname(served, (struct sockaddr *)8, &len), EFAULT);
    FAILS(getsockname(served, (struct sockaddr *)&address, (socklen_t *)8), EFAULT);
    /* Half-closed it still has a peer; when both directions have ended it has none. */
    OK(shutdown(client, SHUT_WR));
    name_is(client, getpeername, "127.0.0.1", port);
    char byte;
    EQ(read(served, &byte, 1), 0);
    name_is(served, getpeername, "127.0.0.1", mine);
    OK(close(served));
    EQ(read(client, &byte, 1), 0);
    name_is(client, getsockname, "127.0.0.1", mine);
    OK(close(client));
    /* Bound before connect: that port it is. */
    client = tcp(AF_INET, 0);
    struct sockaddr_in local = loopback(0);
    OK(bind(client, (struct sockaddr *)&local, sizeof local));
    mine = port_of(client);
    OK(dial_with(client, port));
    EQ(port_of(client), mine);
}

static int listen6(const char *ip, int only, int *port)
{
    int fd = tcp(AF_INET6, 0);
    if (only >= 0) {
        OK(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only));
    }
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};
    EQ(inet_pton(AF_INET6, ip, &address.sin6_addr), 1);
    OK(bind(fd, (struct sockaddr *)&address, sizeof address));
    OK(listen(fd, 8));
    *port = port_of(fd);
    return fd;
}

static int connect6(int fd, const char *ip, int port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    EQ(inet_pton(AF_INET6, ip, &address.sin6_addr), 1);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static void ipv6(void)
{
    int port, listener = listen6("::1", -1, &port);
    name_is(listener, getsockname, "::1", port);
    int fd = tcp(AF_INET6, 0);
    name_is(fd, getsockname, "::", 0);
    OK(connect6(fd, "::1", port));
    int served = take(listener);
    name_is(fd, getpeername, "::1", port);
    name_is(fd, getsockname, "::1", port_of(fd));
    name_is(served, getpeername, "::1", port_of(fd));
    name_is(served, getsockname, "::1", port);
    talk(fd, served);
    /* IPv4's loopback is not at ::1. */
    int v4 = tcp(AF_INET, 0);
    FAILS(dial_with(v4, port), ECONNREFUSED);
    int mapped = tcp(AF_INET6, 0);
    FAILS(connect6(mapped, "::ffff:127.0.0.1", port), ECONNREFUSED);
    /* One family's socket does not take the other's addresses. */
    FAILS(connect6(v4, "::1", port), EAFNOSUPPORT);
    struct sockaddr_in address = loopback(0);
    FAILS(bind(fd, (struct sockaddr *)&address, sizeof address), EINVAL);
}

/* A listener at :: takes IPv4 too, under mapped addresses, unless it says otherwise. */
static void dual_stack(void)
{
    int port, listener = listen6("::", 0, &port);
    name_is(listener, getsockname, "::", port);
    int v4 = dial(port);
    int served = take(listener);
    name_is(served, getpeername, "::ffff:127.0.0.1", port_of(v4));
    name_is(served, getsockname, "::ffff:127.0.0.1", port);
    name_is(v4, getpeername, "127.0.0.1", port);
    talk(v4, served);
    int mapped = tcp(AF_INET6, 0);
    OK(connect6(mapped, "::ffff:127.0.0.1", port));
    served = take(listener);
    name_is(mapped, getpeername, "::ffff:127.0.0.1", port);
    name_is(mapped, getsockname, "::ffff:127.0.0.1", port_of(mapped));
    talk(mapped, served);
    int v6 = tcp(AF_INET6, 0);
    OK(connect6(v6, "::1", port));
    served = take(listener);
    name_is(served, getpeername, "::1", port_of(v6));
    talk(v6, served);
    /* The wildcard as a destination is the loopback. */
    v6 = tcp(AF_INET6, 0);
    OK(connect6(v6, "::", port));
    served = take(listener);
    name_is(v6, getpeername, "::1", port);
    talk(v6, served);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    v4 = tcp(AF_INET, 0);
    OK(connect(v4, (struct sockaddr *)&any, sizeof any));
    name_is(v4, getpeername, "127.0.0.1", port);
    talk(v4, take(listener));
    /* The port is taken for IPv4 as well. */
    int other = tcp(AF_INET, 0);
    FAILS(bind(other, (struct sockaddr *)&any, sizeof any), EADDRINUSE);
}

static void v6only(void)
{
    int port, listener = listen6("::", 1, &port), fd = tcp(AF_INET, 0);
    FAILS(dial_with(fd, port), ECONNREFUSED);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    int beside = tcp(AF_INET, 0);
    OK(bind(beside, (struct sockaddr *)&any, sizeof any));
    OK(listen(beside, 8));
    meet(port, beside);
    int v6 = tcp(AF_INET6, 0), mapped = tcp(AF_INET6, 0), on = 1;
    OK(connect6(v6, "::1", port));
    talk(v6, take(listener));
    OK(setsockopt(mapped, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
    FAILS(connect6(mapped, "::ffff:127.0.0.1", port), ENETUNREACH);
}

/* Without bind, listen takes a port of its own. */
static void unbound(void)
{
    int fd = tcp(AF_INET, 0);
    OK(listen(fd, 8));
    int port = port_of(fd);
    CHECK(port > 0);
    meet(port, fd);
    int client = dial(port);
    FAILS(listen(client, 8), EINVAL);
}

/* AF_UNSPEC is AF_INET where the address is the wildcard. */
static void unspecified(void)
{
    int fd = tcp(AF_INET, 0), v6 = tcp(AF_INET6, 0);
    struct sockaddr_in6 address = {.sin6_family = AF_UNSPEC};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    FAILS(bind(fd, (struct sockaddr *)v4, sizeof *v4 - 1), EINVAL);
    v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    FAILS(bind(fd, (struct sockaddr *)v4, sizeof *v4), EAFNOSUPPORT);
    v4->sin_addr.s_addr = htonl(INADDR_ANY);
    FAILS(bind(v6, (struct sockaddr *)&address, sizeof address), EAFNOSUPPORT);
    OK(bind(fd, (struct sockaddr *)v4, sizeof *v4));
    int port = port_of(fd);
    CHECK(port > 0);
    OK(listen(fd, 8));
    meet(port, fd);
}

/* Nothing of a listener is readable or writable but by accept. */
static void listener_data(void)
{
    int port, listener = server(8, &port), on = -1;
    socklen_t len = sizeof on;
    OK(getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &on, &len));
    EQ(on, 1);
    EQ(polled(listener, POLLIN | POLLOUT, 0), 0);
    int fd = dial(port);
    OK(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len));
    EQ(on, 0);
    EQ(polled(listener, POLLIN | POLLOUT, 2000), POLLIN);
    talk(fd, take(listener));
}

CASES({"backlog", backlog}, {"listen_twice", listen_twice}, {"would_block", would_block}, {"edge", edge},
      {"receive_timeout", receive_timeout}, {"closed_with_queue", closed_with_queue},
      {"bound_again", bound_again}, {"gone_before_accept", gone_before_accept}, {"shut_down", shut_down},
      {"names", names}, {"ipv6", ipv6}, {"dual_stack", dual_stack}, {"v6only", v6only}, {"unbound", unbound},
      {"unspecified", unspecified},
      {"listener_data", listener_data})
