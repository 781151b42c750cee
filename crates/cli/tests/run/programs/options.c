/* getsockopt(2) and setsockopt(2): what programs set on every request, and what they read back. */
#include "kit.h"

static int get(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    OK(getsockopt(fd, level, name, &value, &len));
    EQ(len, sizeof value);
    return value;
}

static void set(int fd, int level, int name, int value)
{
    OK(setsockopt(fd, level, name, &value, sizeof value));
}

static void round_trip(int fd)
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    CHECK(get(fd, IPPROTO_TCP, TCP_NODELAY) == 1);
    set(fd, IPPROTO_TCP, TCP_NODELAY, 0);
    EQ(get(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    set(fd, IPPROTO_TCP, TCP_CORK, 1);
    EQ(get(fd, IPPROTO_TCP, TCP_CORK), 1);
    set(fd, IPPROTO_TCP, TCP_CORK, 0);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    EQ(get(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 77);
    EQ(get(fd, IPPROTO_TCP, TCP_KEEPIDLE), 77);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 11);
    EQ(get(fd, IPPROTO_TCP, TCP_KEEPINTVL), 11);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 5);
    EQ(get(fd, IPPROTO_TCP, TCP_KEEPCNT), 5);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 30000);
    EQ(get(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 30000);
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    EQ(get(fd, SOL_SOCKET, SO_REUSEADDR), 1);
    set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    EQ(get(fd, SOL_SOCKET, SO_REUSEPORT), 1);
    set(fd, SOL_SOCKET, SO_SNDBUF, 50000);
    EQ(get(fd, SOL_SOCKET, SO_SNDBUF), 100000);
    set(fd, SOL_SOCKET, SO_RCVBUF, 50000);
    EQ(get(fd, SOL_SOCKET, SO_RCVBUF), 100000);
    struct linger linger = {1, 7};
    socklen_t len = sizeof linger;
    OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    linger = (struct linger){0, 0};
    OK(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len));
    CHECK(linger.l_onoff == 1 && linger.l_linger == 7);
    linger.l_onoff = 0;
    OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    set(fd, IPPROTO_IP, IP_TOS, 0x10);
    EQ(get(fd, IPPROTO_IP, IP_TOS), 0x10);
    set(fd, IPPROTO_IP, IP_TTL, 33);
    EQ(get(fd, IPPROTO_IP, IP_TTL), 33);
    set(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
    set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
    EQ(get(fd, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    EQ(get(fd, SOL_SOCKET, SO_DOMAIN), AF_INET);
    EQ(get(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
}

static void known(void)
{
    int client, served;
    round_trip(tcp(AF_INET, 0));
    pair(&client, &served);
    round_trip(client);
    round_trip(served);
    CHECK(get(client, IPPROTO_TCP, TCP_MAXSEG) >= 536);
    char name[16] = "reno";
    socklen_t len = sizeof name;
    OK(setsockopt(client, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    memset(name, 0, sizeof name);
    OK(getsockopt(client, IPPROTO_TCP, TCP_CONGESTION, name, &len));
    OK(strcmp(name, "reno"));
    FAILS(setsockopt(client, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6), ENOENT);
    talk(client, served);
}

static void unknown(void)
{
    int client, served, value = 1;
    socklen_t len = sizeof value;
    pair(&client, &served);
    FAILS(setsockopt(client, IPPROTO_TCP, 9999, &value, sizeof value), ENOPROTOOPT);
    FAILS(getsockopt(client, IPPROTO_TCP, 9999, &value, &len), ENOPROTOOPT);
    FAILS(setsockopt(client, SOL_SOCKET, 9999, &value, sizeof value), ENOPROTOOPT);
    FAILS(getsockopt(client, SOL_SOCKET, 9999, &value, &len), ENOPROTOOPT);
    FAILS(setsockopt(client, IPPROTO_IP, 9999, &value, sizeof value), ENOPROTOOPT);
    FAILS(setsockopt(client, SOL_SOCKET, SO_TYPE, &value, sizeof value), ENOPROTOOPT);
    FAILS(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &value, 1), EINVAL);
    FAILS(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, (void *)8, sizeof value), EFAULT);
    FAILS(setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &value, 2), EINVAL);
    FAILS(getsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &value, (socklen_t *)8), EFAULT);
    FAILS(getsockopt(client, SOL_SOCKET, SO_KEEPALIVE, (void *)8, &len), EFAULT);
    len = -1;
    FAILS(getsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &value, &len), EINVAL);
    len = 2;
    value = -1;
    OK(getsockopt(client, SOL_SOCKET, SO_TYPE, &value, &len));
    EQ(len, 2);
    talk(client, served);
}

/* Options of a connection whose peer has gone do no harm. */
static void after_the_end(void)
{
    int client, served;
    char byte;
    pair(&client, &served);
    OK(close(served));
    EQ(read(client, &byte, 1), 0);
    set(client, IPPROTO_TCP, TCP_NODELAY, 1);
    set(client, IPPROTO_TCP, TCP_CORK, 0);
    EQ(so_error(client), 0);
    EQ(get(client, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    OK(close(client));
    pair(&client, &served);
    linger_zero(served);
    OK(close(served));
    FAILS(read(client, &byte, 1), ECONNRESET);
    set(client, IPPROTO_TCP, TCP_NODELAY, 1);
    set(client, SOL_SOCKET, SO_KEEPALIVE, 1);
    EQ(get(client, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    EQ(so_error(client), 0);
}

/* TCP_INFO is that of the connection: its state, its bytes. */
static void info(void)
{
    int client, served;
    struct tcp_info info;
    socklen_t len = sizeof info;
    int fd = tcp(AF_INET, 0);
    OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
    EQ(info.tcpi_state, 7); /* TCP_CLOSE */
    pair(&client, &served);
    talk(client, served);
    len = sizeof info;
    OK(getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &len));
    EQ(info.tcpi_state, 1); /* TCP_ESTABLISHED */
    CHECK(info.tcpi_snd_mss > 0 && info.tcpi_snd_cwnd > 0 && info.tcpi_pmtu > 0);
    CHECK(info.tcpi_rto > 0);
    OK(shutdown(client, SHUT_WR));
    char byte;
    EQ(read(served, &byte, 1), 0);
    pause_ms(100);
    OK(getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &len));
    EQ(info.tcpi_state, 5); /* TCP_FIN_WAIT2 */
    OK(getsockopt(served, IPPROTO_TCP, TCP_INFO, &info, &len));
    EQ(info.tcpi_state, 8); /* TCP_CLOSE_WAIT */
    /* Cut to what the program has room for. */
    len = 4;
    OK(getsockopt(served, IPPROTO_TCP, TCP_INFO, &info, &len));
    EQ(len, 4);
}

/* `count NUMBER`: how long that many calls take, in nanoseconds each. */
static void count(void)
{
    int fd = tcp(AF_INET, 0), on = 1;
    long calls = atol(argument[2]), begun = now_ms();
    for (long at = 0; at < calls; at++) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    fprintf(stderr, "%ld ns a call\n", (now_ms() - begun) * 1000000 / calls);
}

CASES({"known", known}, {"unknown", unknown}, {"after_the_end", after_the_end}, {"info", info}, {"count", count})
