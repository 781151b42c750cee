/* The supervisor is killed: every call comes back, with an error where it was the supervisor's. */
#include "kit.h"

static void *blocked_accept(void *listener)
{
    return (void *)(long)(accept(*(int *)listener, NULL, NULL) < 0 ? errno : 0);
}

static void *blocked_read(void *fd)
{
    char byte;
    return (void *)(long)(read(*(int *)fd, &byte, 1) < 0 ? errno : 0);
}

static void supervisor_dies(void)
{
    int client, served, port, listener = server(8, &port);
    pair(&client, &served);
    pthread_t threads[2];
    void *results[2];
    OK(pthread_create(&threads[0], NULL, blocked_accept, &listener));
    OK(pthread_create(&threads[1], NULL, blocked_read, &client));
    pause_ms(200);
    alarm(10);
    OK(kill(getppid(), SIGKILL));
    OK(pthread_join(threads[0], &results[0]));
    OK(pthread_join(threads[1], &results[1]));
    EQ(results[0], ENOSYS);
    CHECK((long)results[1] == 0 || (long)results[1] == ECONNRESET);
    signal(SIGPIPE, SIG_IGN);
    FAILS(write(served, "x", 1), EPIPE);
    FAILS(socket(AF_INET, SOCK_STREAM, 0), ENOSYS);
    FAILS(getsockname(client, NULL, NULL), ENOSYS);
    EQ(socket(AF_UNIX, SOCK_STREAM, 0) >= 0, 1);
    puts("survived");
}

CASES({"supervisor_dies", supervisor_dies})
