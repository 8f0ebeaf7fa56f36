/* Raw relay: copies bytes between each client connection and one connection to the origin.
 *
 *     relay PORT ORIGIN_PORT
 *
 * It reads no HTTP and does two reads and two writes a request, which a proxy cannot do without.
 * Its cost is the floor of this machine. One thread on epoll; the length of a copy is bounded. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 1 << 16, EVENTS = 64, COPY = 1 << 16 };
static int other[CONNECTIONS]; /* the descriptor at the other side, 0 for none */

static struct sockaddr_in loopback(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd >= CONNECTIONS || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) err(1, "epoll_ctl");
}

static void join(int epoll, int client, const struct sockaddr_in *origin) {
    int one = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0 || connect(server, (void *)origin, sizeof *origin)) err(1, "connect");
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(epoll, client);
    watch(epoll, server);
    other[client] = server;
    other[server] = client;
}

/* Copies what is there; the end of one side ends both. Writes block, so nothing is kept here. */
static void copy(int from) {
    static char bytes[COPY];
    int to = other[from];
    /* An event of this batch may be that of a descriptor which the batch has closed. */
    if (!to) return;
    ssize_t count = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return;
    for (ssize_t sent = 0, more; sent < count; sent += more)
        if ((more = send(to, bytes + sent, count - sent, MSG_NOSIGNAL)) < 0) count = 0;
    if (count) return;
    other[from] = other[to] = 0;
    close(from);
    close(to);
}

int main(int count, char **words) {
    if (count != 3) errx(2, "relay PORT ORIGIN_PORT");
    struct sockaddr_in here = loopback(words[1]), origin = loopback(words[2]);
    int one = 1, epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&here, sizeof here) || listen(listener, 4096)) err(1, "listen");
    watch(epoll, listener);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int at = 0, client; at < ready; at++) {
            if (events[at].data.fd != listener) {
                copy(events[at].data.fd);
                continue;
            }
            while ((client = accept4(listener, 0, 0, SOCK_CLOEXEC)) >= 0)
                join(epoll, client, &origin);
        }
    }
}
