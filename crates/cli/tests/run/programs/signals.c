/* Signals that interrupt accept, connect and recv, with and without SA_RESTART. */
#include "kit.h"

static volatile sig_atomic_t caught;
static pthread_t victim;

static void on_signal(int signal UNUSED)
{
    caught++;
}

static void handle(int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    OK(sigaction(SIGUSR1, &action, NULL));
    caught = 0;
    victim = pthread_self();
}

/* Signals, each after a pause, and then something for the call to return with. */
struct later {
    int signals;
    int port;
    int fd;
    int listener;
};

static void *disturb(void *what)
{
    struct later *later = what;
    for (int at = 0; at < later->signals; at++) {
        pause_ms(60);
        pthread_kill(victim, SIGUSR1);
    }
    pause_ms(60);
    if (later->port) {
        later->fd = dial(later->port);
    } else if (later->listener) {
        close(take(later->listener));
    } else if (later->fd) {
        EQ(write(later->fd, "data", 4), 4);
    }
    return NULL;
}

static void accept_interrupted(void)
{
    int port, listener = server(8, &port);
    pthread_t thread;
    struct later later = {.signals = 1};
    handle(0);
    OK(pthread_create(&thread, NULL, disturb, &later));
    FAILS(take(listener), EINTR);
    EQ(caught, 1);
    OK(pthread_join(thread, NULL));
    meet(port, listener);
    /* Restarted: the call goes on, and has what comes. */
    handle(SA_RESTART);
    later = (struct later){.signals = 3, .port = port};
    OK(pthread_create(&thread, NULL, disturb, &later));
    int served = take(listener);
    CHECK(served >= 0);
    OK(pthread_join(thread, NULL));
    EQ(caught, 3);
    talk(later.fd, served);
}

/* Signals at any time: no connection is lost, none comes twice. */
static void *storm(void *stop)
{
    while (!__atomic_load_n((int *)stop, __ATOMIC_ACQUIRE)) {
        pthread_kill(victim, SIGUSR1);
        struct timespec time = {0, 200000};
        nanosleep(&time, NULL);
    }
    return NULL;
}

static void *many_clients(void *port)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (int at = 0; at < 100; at++) {
        int fd = dial(*(int *)port);
        char byte = (char)at, back;
        EQ(write(fd, &byte, 1), 1);
        EQ(read(fd, &back, 1), 1);
        EQ(back, byte);
        close(fd);
    }
    return NULL;
}

static void stormy(int flags)
{
    int port, listener = server(8, &port), stop = 0;
    pthread_t thread, clients;
    handle(flags);
    OK(pthread_create(&thread, NULL, storm, &stop));
    OK(pthread_create(&clients, NULL, many_clients, &port));
    for (int served = 0; served < 100;) {
        int fd = take(listener);
        if (fd < 0) {
            int error = errno;
            CHECK(error == EINTR && flags == 0);
            continue;
        }
        char byte;
        while (read(fd, &byte, 1) != 1) {
        }
        EQ(write(fd, &byte, 1), 1);
        served++;
        close(fd);
    }
    OK(pthread_join(clients, NULL));
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    OK(pthread_join(thread, NULL));
    nonblocking(listener, 1);
    FAILS(take(listener), EAGAIN);
}

static void accept_in_a_storm(void)
{
    stormy(0);
    stormy(SA_RESTART);
}

static void receive_interrupted(void)
{
    int client, served;
    char text[8];
    pthread_t thread;
    pair(&client, &served);
    handle(0);
    struct later later = {.signals = 1};
    OK(pthread_create(&thread, NULL, disturb, &later));
    FAILS(read(client, text, 4), EINTR);
    OK(pthread_join(thread, NULL));
    handle(SA_RESTART);
    later = (struct later){.signals = 2, .fd = served};
    OK(pthread_create(&thread, NULL, disturb, &later));
    EQ(read(client, text, 4), 4);
    OK(pthread_join(thread, NULL));
    EQ(caught, 2);
}

/* Interrupted, the attempt goes on: poll shows its end, a second call says EALREADY or waits. */
static void connect_interrupted(void)
{
    int port, listener = server(0, &port), queued = dial(port);
    pthread_t thread;
    handle(0);
    struct later later = {.signals = 1};
    int fd = tcp(AF_INET, 0);
    OK(pthread_create(&thread, NULL, disturb, &later));
    FAILS(dial_with(fd, port), EINTR);
    EQ(polled(fd, POLLIN | POLLOUT, 50), 0);
    OK(pthread_join(thread, NULL));
    nonblocking(fd, 1);
    FAILS(dial_with(fd, port), EALREADY);
    nonblocking(fd, 0);
    close(take(listener));
    close(queued);
    EQ(polled(fd, POLLOUT, 5000), POLLOUT);
    EQ(so_error(fd), 0);
    OK(dial_with(fd, port));
    FAILS(dial_with(fd, port), EISCONN);
    int served = take(listener);
    talk(fd, served);
    close(fd);
    close(served);
}

static void connect_restarted(void)
{
    int port, listener = server(0, &port), queued = dial(port);
    pthread_t thread;
    handle(SA_RESTART);
    struct later later = {.signals = 3, .listener = listener};
    int fd = tcp(AF_INET, 0);
    OK(pthread_create(&thread, NULL, disturb, &later));
    OK(dial_with(fd, port));
    OK(pthread_join(thread, NULL));
    EQ(caught, 3);
    talk(fd, take(listener));
    close(queued);
}

/* Interrupted, and refused later. */
static void connect_interrupted_again(void)
{
    int port, listener = server(0, &port), queued = dial(port);
    pthread_t thread;
    handle(0);
    struct later later = {.signals = 1};
    int fd = tcp(AF_INET, 0);
    OK(pthread_create(&thread, NULL, disturb, &later));
    FAILS(dial_with(fd, port), EINTR);
    OK(pthread_join(thread, NULL));
    close(take(listener));
    close(queued);
    /* A blocking call waits for the attempt that is under way. */
    OK(dial_with(fd, port));
    talk(fd, take(listener));
}

CASES({"accept_interrupted", accept_interrupted}, {"accept_in_a_storm", accept_in_a_storm},
      {"receive_interrupted", receive_interrupted}, {"connect_interrupted", connect_interrupted},
      {"connect_restarted", connect_restarted}, {"connect_interrupted_again", connect_interrupted_again})
