/* Data and ends: reset, half-close, peek, urgent, waitall, sendfile, splice, limits. */
#include "kit.h"
#include <sys/sendfile.h>
#include <linux/sockios.h>

/* What was pending is read, then ECONNRESET once, then the end. */
static void reset_with_data(void)
{
    int client, served;
    char text[16];
    pair(&client, &served);
    EQ(write(served, "pending", 7), 7);
    pause_ms(100);
    linger_zero(served);
    OK(close(served));
    pause_ms(100);
    EQ(polled(client, POLLIN, 2000) & (POLLIN | POLLERR | POLLHUP), POLLIN | POLLERR | POLLHUP);
    EQ(read(client, text, sizeof text), 7);
    FAILS(read(client, text, 1), ECONNRESET);
    EQ(read(client, text, 1), 0);
    signal(SIGPIPE, SIG_IGN);
    FAILS(write(client, "x", 1), EPIPE);
}

static void reset_without_data(void)
{
    int client, served;
    char text[16];
    pair(&client, &served);
    linger_zero(served);
    OK(close(served));
    EQ(polled(client, POLLIN, 2000) & (POLLIN | POLLERR | POLLHUP), POLLIN | POLLERR | POLLHUP);
    FAILS(read(client, text, 1), ECONNRESET);
    EQ(read(client, text, 1), 0);
    OK(close(client));
    /* The accepted side, told while it waits. */
    pair(&client, &served);
    pid_t pid = fork();
    if (pid == 0) {
        close(client);
        FAILS(read(served, text, 1), ECONNRESET);
        _exit(0);
    }
    pause_ms(100);
    close(served);
    linger_zero(client);
    OK(close(client));
    child_is_well(pid);
}

/* The error is told once, by whoever asks first: SO_ERROR. */
static void reset_so_error(void)
{
    int client, served;
    char byte;
    pair(&client, &served);
    linger_zero(served);
    OK(close(served));
    CHECK(polled(client, POLLIN, 2000) & POLLERR);
    EQ(so_error(client), ECONNRESET);
    EQ(so_error(client), 0);
    EQ(read(client, &byte, 1), 0);
}

/* Closed with data unread: RST. */
static void closed_unread(void)
{
    int client, served;
    char byte;
    pair(&client, &served);
    EQ(write(client, "never read", 10), 10);
    EQ(polled(served, POLLIN, 2000), POLLIN);
    OK(close(served));
    FAILS(read(client, &byte, 1), ECONNRESET);
}

static void half_close(void)
{
    int client, served;
    char text[16];
    pair(&client, &served);
    EQ(write(client, "question", 8), 8);
    OK(shutdown(client, SHUT_WR));
    EQ(read_all(served, text, 16), 8);
    EQ(polled(served, POLLIN | POLLRDHUP | POLLOUT, 2000), POLLIN | POLLRDHUP | POLLOUT);
    EQ(read(served, text, 1), 0);
    for (int at = 0; at < 3; at++) {
        EQ(write(served, "answer", 6), 6);
        EQ(read_all(client, text, 6), 6);
    }
    signal(SIGPIPE, SIG_IGN);
    FAILS(write(client, "x", 1), EPIPE);
    OK(shutdown(served, SHUT_WR));
    EQ(read(client, text, 1), 0);
    EQ(polled(client, POLLIN | POLLRDHUP, 2000) & POLLHUP, POLLHUP);
    OK(close(client));
    OK(close(served));
    /* The other way round. */
    pair(&client, &served);
    OK(shutdown(served, SHUT_WR));
    EQ(read(client, text, 1), 0);
    EQ(polled(client, POLLIN | POLLOUT, 0), POLLIN | POLLOUT);
    EQ(write(client, "still", 5), 5);
    EQ(read_all(served, text, 5), 5);
    OK(close(client));
    EQ(read(served, text, 1), 0);
}

/* shutdown of both directions, and what is told of sockets that were never connected. */
static void shutdown_both(void)
{
    int client, served, fresh = tcp(AF_INET, 0);
    char byte;
    FAILS(shutdown(fresh, SHUT_RDWR), ENOTCONN);
    FAILS(shutdown(fresh, 3), EINVAL);
    pair(&client, &served);
    OK(shutdown(client, SHUT_RDWR));
    EQ(read(client, &byte, 1), 0);
    EQ(read(served, &byte, 1), 0);
    signal(SIGPIPE, SIG_IGN);
    FAILS(write(client, "x", 1), EPIPE);
    OK(close(client));
    OK(close(served));
    pair(&client, &served);
    EQ(write(client, "bye", 3), 3);
    OK(shutdown(client, SHUT_RDWR));
    OK(close(client));
    char text[8];
    EQ(read_all(served, text, 8), 3);
}

/* What comes after both directions were shut down is answered by a reset. */
static void late_data(void)
{
    int client, served;
    char byte;
    for (int first = 0; first < 2; first++) {
        pair(&client, &served);
        if (first)
            OK(shutdown(client, SHUT_WR));
        OK(shutdown(client, SHUT_RDWR));
        EQ(read(served, &byte, 1), 0);
        EQ(write(served, "late", 4), 4);
        CHECK(polled(served, POLLIN, 2000) & POLLIN);
        for (int tries = 0; !(polled(served, 0, 10) & POLLHUP); tries++)
            CHECK(tries < 200);
        FAILS(send(served, "x", 1, MSG_NOSIGNAL), EPIPE);
        OK(close(client));
        OK(close(served));
    }
}

/* SIGPIPE comes, and MSG_NOSIGNAL keeps it away. */
static volatile sig_atomic_t pipes;

static void on_pipe(int signal UNUSED)
{
    pipes++;
}

static void broken_pipe(void)
{
    int client, served;
    pair(&client, &served);
    signal(SIGPIPE, on_pipe);
    OK(shutdown(client, SHUT_WR));
    FAILS(write(client, "x", 1), EPIPE);
    EQ(pipes, 1);
    FAILS(send(client, "x", 1, MSG_NOSIGNAL), EPIPE);
    EQ(pipes, 1);
}

static void peek(void)
{
    int client, served, unread;
    char text[16];
    pair(&client, &served);
    EQ(write(client, "abcdef", 6), 6);
    EQ(recv(served, text, 3, MSG_PEEK), 3);
    EQ(recv(served, text, 16, MSG_PEEK), 6);
    OK(memcmp(text, "abcdef", 6));
    OK(ioctl(served, FIONREAD, &unread));
    EQ(unread, 6);
    EQ(read(served, text, 4), 4);
    OK(ioctl(served, FIONREAD, &unread));
    EQ(unread, 2);
    FAILS(recv(client, text, 1, MSG_DONTWAIT), EAGAIN);
    EQ(recv(served, text, 16, MSG_DONTWAIT), 2);
    OK(ioctl(served, FIONREAD, &unread));
    EQ(unread, 0);
}

static void *late_writer(void *fd)
{
    for (int at = 0; at < 4; at++) {
        pause_ms(30);
        EQ(write(*(int *)fd, "1234", 4), 4);
    }
    return NULL;
}

static void waitall(void)
{
    int client, served;
    char text[32];
    pthread_t thread;
    pair(&client, &served);
    OK(pthread_create(&thread, NULL, late_writer, &client));
    EQ(recv(served, text, 16, MSG_WAITALL), 16);
    OK(memcmp(text, "1234123412341234", 16));
    OK(pthread_join(thread, NULL));
    EQ(write(client, "end", 3), 3);
    OK(shutdown(client, SHUT_WR));
    EQ(recv(served, text, 16, MSG_WAITALL), 3);
    EQ(recv(served, text, 16, MSG_WAITALL), 0);
}

static volatile sig_atomic_t urgent;

static void on_urgent(int signal UNUSED)
{
    urgent++;
}

static void out_of_band_between(int from, int to)
{
    char text[16];
    int mark = -1;
    OK(fcntl(to, F_SETOWN, getpid()));
    urgent = 0;
    EQ(send(from, "abc", 3, 0), 3);
    EQ(send(from, "!", 1, MSG_OOB), 1);
    EQ(polled(to, POLLPRI, 2000), POLLPRI);
    EQ(send(from, "def", 3, 0), 3);
    pause_ms(100);
    CHECK(urgent >= 1);
    OK(ioctl(to, SIOCATMARK, &mark));
    EQ(mark, 0);
    /* Reading stops at the mark. */
    EQ(recv(to, text, 16, 0), 3);
    OK(memcmp(text, "abc", 3));
    OK(ioctl(to, SIOCATMARK, &mark));
    EQ(mark, 1);
    EQ(recv(to, text, 16, MSG_OOB), 1);
    EQ(text[0], '!');
    EQ(recv(to, text, 16, 0), 3);
    OK(memcmp(text, "def", 3));
    OK(ioctl(to, SIOCATMARK, &mark));
    EQ(mark, 0);
    FAILS(recv(to, text, 1, MSG_OOB), EINVAL);
}

static void out_of_band(void)
{
    int client, served;
    signal(SIGURG, on_urgent);
    pair(&client, &served);
    out_of_band_between(client, served);
    out_of_band_between(served, client);
}

static void out_of_band_inline(void)
{
    int client, served, on = 1, mark = -1;
    char text[16];
    socklen_t len = sizeof on;
    pair(&client, &served);
    OK(setsockopt(served, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
    on = -1;
    OK(getsockopt(served, SOL_SOCKET, SO_OOBINLINE, &on, &len));
    EQ(on, 1);
    EQ(send(client, "abc", 3, 0), 3);
    EQ(send(client, "!", 1, MSG_OOB), 1);
    EQ(send(client, "def", 3, 0), 3);
    EQ(polled(served, POLLPRI, 2000) & POLLPRI, POLLPRI);
    pause_ms(100);
    EQ(recv(served, text, 16, 0), 3);
    OK(memcmp(text, "abc", 3));
    OK(ioctl(served, SIOCATMARK, &mark));
    EQ(mark, 1);
    EQ(read_all(served, text, 4), 4);
    OK(memcmp(text, "!def", 4));
}

static void receive_timeouts(void)
{
    int client, served;
    char byte;
    pair(&client, &served);
    timeout_of(served, SO_RCVTIMEO, 150);
    long begun = now_ms();
    FAILS(read(served, &byte, 1), EAGAIN);
    CHECK(now_ms() - begun >= 140);
    timeout_of(client, SO_SNDTIMEO, 150);
    static char much[1 << 16];
    begun = now_ms();
    long n;
    while ((n = write(client, much, sizeof much)) == sizeof much) {
        begun = now_ms();
        CHECK(n > 0);
    }
    int error = errno;
    CHECK(n > 0 || error == EAGAIN);
    CHECK(now_ms() - begun >= 140);
}

static unsigned char pattern(long at)
{
    return (unsigned char)(at * 31 + at / 251);
}

static int file_of(long size)
{
    char name[] = "/tmp/sockeye-data-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    OK(unlink(name));
    char *bytes = malloc(size);
    for (long at = 0; at < size; at++) {
        bytes[at] = pattern(at);
    }
    EQ(write(fd, bytes, size), size);
    free(bytes);
    EQ(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void *reader(void *fd)
{
    enum { PART = 1 << 16 };
    long at = 0, n;
    unsigned char *part = malloc(PART);
    while ((n = read(*(int *)fd, part, PART)) > 0) {
        for (long each = 0; each < n; each++) {
            if (part[each] != pattern(at + each)) {
                fail(__FILE__, __LINE__, "the bytes arrive as they were sent", at + each, 0);
            }
        }
        at += n;
    }
    EQ(n, 0);
    free(part);
    return (void *)at;
}

static void send_file(void)
{
    enum { SIZE = 3000000 };
    int client, served, file = file_of(SIZE);
    pthread_t thread;
    void *got;
    pair(&client, &served);
    OK(pthread_create(&thread, NULL, reader, &client));
    off_t at = 0;
    while (at < SIZE) {
        CHECK(sendfile(served, file, &at, SIZE - at) > 0);
    }
    OK(shutdown(served, SHUT_WR));
    OK(pthread_join(thread, &got));
    EQ(got, SIZE);
}

/* From a file through a pipe into one connection, and from that through a pipe into another. */
static void *splicer(void *fds)
{
    int *ends = fds, pipe_ends[2];
    OK(pipe(pipe_ends));
    long n;
    while ((n = splice(ends[0], NULL, pipe_ends[1], NULL, 1 << 16, 0)) > 0) {
        while (n > 0) {
            long out = splice(pipe_ends[0], NULL, ends[1], NULL, n, 0);
            CHECK(out > 0);
            n -= out;
        }
    }
    EQ(n, 0);
    OK(shutdown(ends[1], SHUT_WR));
    return NULL;
}

static void spliced(void)
{
    enum { SIZE = 2000000 };
    int a, b, c, d, file = file_of(SIZE);
    pair(&a, &b);
    pair(&c, &d);
    int first[2] = {file, a}, second[2] = {b, c};
    pthread_t threads[3];
    void *got;
    OK(pthread_create(&threads[0], NULL, splicer, first));
    OK(pthread_create(&threads[1], NULL, splicer, second));
    OK(pthread_create(&threads[2], NULL, reader, &d));
    OK(pthread_join(threads[0], NULL));
    OK(pthread_join(threads[1], NULL));
    OK(pthread_join(threads[2], &got));
    EQ(got, SIZE);
}

/* Much both ways at once, in parts and by vectors. */
static void *vector_writer(void *fd)
{
    unsigned char parts[3][1000];
    long at = 0;
    while (at < 3000000) {
        struct iovec vector[3];
        for (int each = 0; each < 3; each++) {
            for (int byte = 0; byte < 1000; byte++) {
                parts[each][byte] = pattern(at + each * 1000 + byte);
            }
            vector[each] = (struct iovec){parts[each], 1000};
        }
        long n = writev(*(int *)fd, vector, 3);
        CHECK(n == 3000);
        at += n;
    }
    OK(shutdown(*(int *)fd, SHUT_WR));
    return NULL;
}

static void both_ways(void)
{
    int client, served;
    pthread_t threads[4];
    void *got;
    pair(&client, &served);
    OK(pthread_create(&threads[0], NULL, vector_writer, &client));
    OK(pthread_create(&threads[1], NULL, vector_writer, &served));
    OK(pthread_create(&threads[2], NULL, reader, &served));
    EQ(reader(&client), 3000000);
    OK(pthread_join(threads[2], &got));
    EQ(got, 3000000);
}

/* A non-blocking writer waits for room by epoll, edge-triggered. */
static void edge_writer(void)
{
    enum { SIZE = 4000000 };
    int client, served, ep = epoll_create1(0);
    pthread_t thread;
    void *got;
    pair(&client, &served);
    nonblocking(client, 1);
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
    OK(epoll_ctl(ep, EPOLL_CTL_ADD, client, &event));
    OK(pthread_create(&thread, NULL, reader, &served));
    static unsigned char part[100000];
    for (long at = 0; at < SIZE;) {
        long want = SIZE - at < (long)sizeof part ? SIZE - at : (long)sizeof part;
        for (long each = 0; each < want; each++) {
            part[each] = pattern(at + each);
        }
        long n = write(client, part, want);
        if (n < 0) {
            EQ(epoll_wait(ep, &event, 1, 5000), 1);
            continue;
        }
        at += n;
    }
    OK(close(client));
    OK(pthread_join(thread, &got));
    EQ(got, SIZE);
}

/* Nobody reads: writing stops somewhere, and goes on where it stopped. */
static void back_pressure(void)
{
    int client, served;
    pair(&client, &served);
    nonblocking(client, 1);
    static unsigned char part[1 << 16];
    long at = 0, quiet = 0;
    while (quiet < 300) {
        for (long each = 0; each < (long)sizeof part; each++) {
            part[each] = pattern(at + each);
        }
        long n = write(client, part, sizeof part);
        if (n < 0) {
            pause_ms(10);
            quiet += 10;
        } else {
            at += n;
            quiet = 0;
        }
        CHECK(at < 64 << 20);
    }
    EQ(polled(client, POLLOUT, 0), 0);
    pthread_t thread;
    void *got;
    OK(pthread_create(&thread, NULL, reader, &served));
    CHECK(polled(client, POLLOUT, 5000) & POLLOUT);
    OK(close(client));
    OK(pthread_join(thread, &got));
    EQ(got, at);
}

/* Writes 8 MB to the port of another process and is gone: `write_and_exit PORT`. */
static void write_and_exit(void)
{
    static unsigned char part[1 << 20];
    int fd = dial(atoi(argument[2]));
    for (long at = 0; at < 8 << 20; at += sizeof part) {
        for (long each = 0; each < (long)sizeof part; each++) {
            part[each] = pattern(at + each);
        }
        EQ(write(fd, part, sizeof part), sizeof part);
    }
}

/* The other end of that, outside: prints its port, and checks what comes. */
static void read_to_end(void)
{
    int port, listener = server(8, &port);
    printf("%d\n", port);
    fflush(stdout);
    int fd = take(listener);
    EQ(reader(&fd), 8 << 20);
    puts("all there");
}

/* A linger of zero resets; SO_LINGER with time does not. */
static void linger(void)
{
    int client, served;
    char text[8];
    pair(&client, &served);
    EQ(write(client, "bye", 3), 3);
    struct linger time = {1, 2};
    OK(setsockopt(client, SOL_SOCKET, SO_LINGER, &time, sizeof time));
    OK(close(client));
    EQ(read_all(served, text, 8), 3);
    OK(close(served));
    pair(&client, &served);
    linger_zero(client);
    OK(close(client));
    FAILS(read(served, text, 1), ECONNRESET);
}

CASES({"reset_with_data", reset_with_data}, {"reset_without_data", reset_without_data},
      {"reset_so_error", reset_so_error}, {"closed_unread", closed_unread}, {"half_close", half_close},
      {"shutdown_both", shutdown_both}, {"late_data", late_data}, {"broken_pipe", broken_pipe}, {"peek", peek}, {"waitall", waitall},
      {"out_of_band", out_of_band}, {"out_of_band_inline", out_of_band_inline},
      {"receive_timeouts", receive_timeouts}, {"send_file", send_file}, {"spliced", spliced},
      {"both_ways", both_ways}, {"edge_writer", edge_writer}, {"back_pressure", back_pressure},
      {"linger", linger}, {"write_and_exit", write_and_exit}, {"read_to_end", read_to_end})
