/* Sockets over processes: fork, pre-fork accept, dup, exec, SCM_RIGHTS, vfork, posix_spawn, other kinds of sockets. */
#include "kit.h"
#include <linux/netlink.h>
#include <sched.h>
#include <spawn.h>

extern char **environ;

/* The child has what the parent has; the stream ends with the last copy. */
static void forked(void)
{
    int client, served;
    char text[16];
    pair(&client, &served);
    pid_t pid = fork();
    if (pid == 0) {
        close(served);
        EQ(write(client, "child", 5), 5);
        _exit(0);
    }
    child_is_well(pid);
    EQ(read_all(served, text, 5), 5);
    FAILS(recv(served, text, 1, MSG_DONTWAIT), EAGAIN);
    EQ(write(client, "parent", 6), 6);
    OK(close(client));
    EQ(read_all(served, text, 16), 6);
    /* A child that connects, after its parent has made the socket. */
    int port, listener = server(8, &port), fd = tcp(AF_INET, 0);
    pid = fork();
    if (pid == 0) {
        OK(dial_with(fd, port));
        _exit(0);
    }
    served = take(listener);
    child_is_well(pid);
    talk(fd, served);
}

/* Several processes in accept on one listener: each connection goes to one of them. */
static void prefork(void)
{
    enum { WORKERS = 4, CONNECTIONS = 24 };
    int port, listener = server(32, &port);
    pid_t pids[WORKERS];
    for (int at = 0; at < WORKERS; at++) {
        if ((pids[at] = fork()) == 0) {
            for (;;) {
                char text[8];
                int fd = take(listener);
                CHECK(fd >= 0);
                long n = read_all(fd, text, 4);
                if (n == 4 && memcmp(text, "stop", 4) == 0) {
                    _exit(0);
                }
                EQ(write(fd, text, n), n);
                close(fd);
            }
        }
    }
    char text[8];
    for (int at = 0; at < CONNECTIONS; at++) {
        int fd = dial(port);
        EQ(write(fd, "ping", 4), 4);
        EQ(read_all(fd, text, 8), 4);
        close(fd);
    }
    for (int at = 0; at < WORKERS; at++) {
        int fd = dial(port);
        EQ(write(fd, "stop", 4), 4);
        EQ(read(fd, text, 1), 0);
        close(fd);
    }
    for (int at = 0; at < WORKERS; at++) {
        child_is_well(pids[at]);
    }
}

/* The same with epoll and EPOLLEXCLUSIVE, not blocking. */
static void exclusive(void)
{
    enum { WORKERS = 3, CONNECTIONS = 30 };
    int port, listener = server(64, &port), done[2];
    nonblocking(listener, 1);
    OK(pipe(done));
    pid_t pids[WORKERS];
    for (int at = 0; at < WORKERS; at++) {
        if ((pids[at] = fork()) == 0) {
            int ep = epoll_create1(0);
            close(done[1]);
            struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.fd = listener};
            OK(epoll_ctl(ep, EPOLL_CTL_ADD, listener, &event));
            event = (struct epoll_event){.events = EPOLLIN, .data.fd = done[0]};
            OK(epoll_ctl(ep, EPOLL_CTL_ADD, done[0], &event));
            for (;;) {
                EQ(epoll_wait(ep, &event, 1, 10000), 1);
                if (event.data.fd == done[0]) {
                    _exit(0);
                }
                int fd = take(listener);
                if (fd >= 0) {
                    EQ(write(fd, "served", 6), 6);
                    close(fd);
                }
            }
        }
    }
    int fds[CONNECTIONS];
    char text[8];
    for (int at = 0; at < CONNECTIONS; at++) {
        fds[at] = dial(port);
    }
    for (int at = 0; at < CONNECTIONS; at++) {
        EQ(read_all(fds[at], text, 8), 6);
        close(fds[at]);
    }
    close(done[1]);
    for (int at = 0; at < WORKERS; at++) {
        child_is_well(pids[at]);
    }
}

static void duplicates(void)
{
    int client, served;
    char text[8];
    pair(&client, &served);
    int second = dup(client), third = dup2(client, 100), fourth = dup3(client, 101, O_CLOEXEC);
    CHECK(second >= 0);
    EQ(third, 100);
    EQ(fourth, 101);
    OK(close(client));
    talk(second, served);
    EQ(port_of(second), port_of(third));
    OK(close(second));
    talk(third, served);
    OK(close(third));
    talk(fourth, served);
    int on = -1;
    socklen_t len = sizeof on;
    OK(setsockopt(fourth, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof on));
    OK(getsockopt(fourth, IPPROTO_TCP, TCP_NODELAY, &on, &len));
    CHECK(on != 0);
    /* The last copy closed is the end, also where another socket takes its number. */
    int other, there;
    pair(&other, &there);
    EQ(dup2(other, fourth), fourth);
    EQ(read(served, text, 1), 0);
    talk(fourth, there);
}

/* exec with an inherited listener and an inherited connection. */
static void executed(void)
{
    int port, listener = server(8, &port);
    int client = dial(port), served = take(listener);
    int hidden = tcp(AF_INET, SOCK_CLOEXEC);
    char numbers[4][16];
    snprintf(numbers[0], 16, "%d", listener);
    snprintf(numbers[1], 16, "%d", served);
    snprintf(numbers[2], 16, "%d", hidden);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", argument[0], "inherited", numbers[0], numbers[1], numbers[2], NULL);
        _exit(9);
    }
    close(served);
    char text[8];
    EQ(write(client, "ping", 4), 4);
    EQ(read_all(client, text, 4), 4);
    int second = dial(port);
    EQ(read_all(second, text, 8), 5);
    child_is_well(pid);
    EQ(read(client, text, 1), 0);
}

static void inherited(void)
{
    int listener = atoi(argument[2]), served = atoi(argument[3]), hidden = atoi(argument[4]);
    char text[8];
    FAILS(fcntl(hidden, F_GETFD), EBADF);
    EQ(read_all(served, text, 4), 4);
    EQ(write(served, text, 4), 4);
    int fd = take(listener);
    CHECK(fd >= 0);
    EQ(write(fd, "hello", 5), 5);
    CHECK(port_of(fd) == port_of(listener));
}

/* A reset, with nothing pending, of a connection whose program is another one by now. */
static void reset_after_exec(void)
{
    int client, served;
    char number[16];
    pair(&client, &served);
    snprintf(number, sizeof number, "%d", served);
    pid_t pid = fork();
    if (pid == 0) {
        /* The thread that accepted has gone with the fork, and its number moves. */
        close(client);
        int moved = dup(served);
        close(served);
        snprintf(number, sizeof number, "%d", moved);
        execl("/proc/self/exe", argument[0], "expects_reset", number, NULL);
        _exit(9);
    }
    close(served);
    pause_ms(200);
    linger_zero(client);
    OK(close(client));
    child_is_well(pid);
}

static void expects_reset(void)
{
    char byte;
    FAILS(read(atoi(argument[2]), &byte, 1), ECONNRESET);
    EQ(read(atoi(argument[2]), &byte, 1), 0);
}

static void send_fd(int to, int fd)
{
    char byte = 0, control[CMSG_SPACE(sizeof fd)];
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    EQ(sendmsg(to, &message, 0), 1);
}

static int receive_fd(int from)
{
    int fd;
    char byte, control[CMSG_SPACE(sizeof fd)];
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    EQ(recvmsg(from, &message, 0), 1);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

/* A listener, and what it accepts, handed from process to process. */
static void passed_on(void)
{
    int unix_ends[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, unix_ends));
    pid_t pid = fork();
    if (pid == 0) {
        close(unix_ends[0]);
        int listener = receive_fd(unix_ends[1]);
        int fd = take(listener);
        CHECK(fd >= 0);
        send_fd(unix_ends[1], fd);
        close(fd);
        close(listener);
        _exit(0);
    }
    close(unix_ends[1]);
    int port, listener = server(8, &port);
    send_fd(unix_ends[0], listener);
    int client = dial(port);
    int served = receive_fd(unix_ends[0]);
    child_is_well(pid);
    talk(client, served);
    EQ(port_of(served), port);
    OK(close(served));
    char byte;
    EQ(read(client, &byte, 1), 0);
}

static void spawned(void)
{
    int client, served;
    char text[8], number[16];
    pair(&client, &served);
    OK(fcntl(client, F_SETFD, FD_CLOEXEC));
    snprintf(number, sizeof number, "%d", served);
    /* posix_spawn, the socket as its standard output too. */
    posix_spawn_file_actions_t actions;
    OK(posix_spawn_file_actions_init(&actions));
    OK(posix_spawn_file_actions_adddup2(&actions, served, 1));
    char *words[] = {"sh", "-c", "echo one", NULL};
    pid_t pid;
    OK(posix_spawn(&pid, "/bin/sh", &actions, NULL, words, environ));
    child_is_well(pid);
    EQ(read_all(client, text, 4), 4);
    OK(memcmp(text, "one\n", 4));
    pid = vfork();
    if (pid == 0) {
        dup2(served, 1);
        execl("/bin/sh", "sh", "-c", "echo two", NULL);
        _exit(9);
    }
    child_is_well(pid);
    EQ(read_all(client, text, 4), 4);
    OK(memcmp(text, "two\n", 4));
    OK(close(served));
    EQ(read(client, text, 1), 0);
}

/* Kinds of sockets that are none of ours, and rings. */
static void others(void)
{
    struct sockaddr_in address = loopback(0);
    socklen_t len = sizeof address;
    int udp = socket(AF_INET, SOCK_DGRAM, 0), sender = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(udp >= 0 && sender >= 0);
    OK(bind(udp, (struct sockaddr *)&address, sizeof address));
    OK(getsockname(udp, (struct sockaddr *)&address, &len));
    int plain = socket(AF_INET, SOCK_DGRAM, 0);
    OK(connect(plain, (struct sockaddr *)&address, sizeof address));
    EQ(send(plain, "datagram", 8, 0), 8);
    char text[16];
    EQ(recvfrom(udp, text, 16, 0, (struct sockaddr *)&address, &len), 8);
    EQ(sendto(udp, "back", 4, 0, (struct sockaddr *)&address, len), 4);
    EQ(recv(plain, text, 16, 0), 4);
    int ends[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    talk(ends[0], ends[1]);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path + 1, 60, "sockeye-test-%d", getpid());
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    OK(bind(listener, (struct sockaddr *)&name, sizeof name));
    OK(listen(listener, 4));
    OK(connect(client, (struct sockaddr *)&name, sizeof name));
    talk(client, accept(listener, NULL, NULL));
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    CHECK(netlink >= 0);
    struct sockaddr_nl nl = {.nl_family = AF_NETLINK};
    OK(bind(netlink, (struct sockaddr *)&nl, sizeof nl));
    int kind = -1;
    len = sizeof kind;
    int fd = tcp(AF_INET, 0);
    OK(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &kind, &len));
    EQ(kind, AF_INET);
    OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &len));
    EQ(kind, SOCK_STREAM);
    OK(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &kind, &len));
    EQ(kind, IPPROTO_TCP);
    OK(getsockopt(udp, SOL_SOCKET, SO_PROTOCOL, &kind, &len));
    EQ(kind, IPPROTO_UDP);
    FAILS(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
    FAILS(socket(AF_INET, SOCK_STREAM | 0x100, 0), EINVAL);
}

/* Rings are refused, so that programs do without; so is MPTCP. */
static void refused(void)
{
    char parameters[256] = {0};
    FAILS(syscall(SYS_io_uring_setup, 4, parameters), ENOSYS);
    FAILS(socket(AF_INET, SOCK_STREAM, 262), EPROTONOSUPPORT);
}

/* A table of descriptors that a thread does not share with the others. */
static void *lone_thread(void *unused UNUSED)
{
    OK(unshare(CLONE_FILES));
    int client, served;
    pair(&client, &served);
    talk(client, served);
    nonblocking(client, 1);
    return NULL;
}

static void unshared(void)
{
    pthread_t threads[3];
    for (int at = 0; at < 3; at++) {
        OK(pthread_create(&threads[at], NULL, lone_thread, NULL));
    }
    for (int at = 0; at < 3; at++) {
        OK(pthread_join(threads[at], NULL));
    }
}

/* As many descriptors as the program may have: EMFILE, and the connection is there for the next accept. */
static void no_room(void)
{
    int port, listener = server(8, &port), client = dial(port), last;
    while ((last = dup(0)) >= 0) {
    }
    EQ(polled(listener, POLLIN, 2000), POLLIN);
    FAILS(take(listener), EMFILE);
    FAILS(socket(AF_INET, SOCK_STREAM, 0), EMFILE);
    OK(close(3 + 2));
    EQ(polled(listener, POLLIN, 2000), POLLIN);
    int served = take(listener);
    talk(client, served);
}

CASES({"forked", forked}, {"prefork", prefork}, {"exclusive", exclusive}, {"duplicates", duplicates},
      {"executed", executed}, {"inherited", inherited}, {"reset_after_exec", reset_after_exec},
      {"expects_reset", expects_reset}, {"passed_on", passed_on}, {"spawned", spawned}, {"others", others},
      {"refused", refused}, {"unshared", unshared}, {"no_room", no_room})
