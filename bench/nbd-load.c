/*
 * Load on an NBD server, and the same bytes over plain TCP to hold it against.
 *
 *   nbd-load read HOST PORT EXPORT DEPTH BYTES   reads the whole export once, DEPTH requests of BYTES under way
 *   nbd-load hold HOST PORT EXPORT FIRST COUNT   COUNT clients with addresses from FIRST on; each reads its first
 *                                                MiB, then all stay connected until a signal comes
 *   nbd-load source ADDRESS PORT BYTES           sends BYTES to the first who connects
 *   nbd-load sink HOST PORT                      takes all that a source sends
 *
 * Prints one line of JSON. Handshake and messages: NetworkBlockDevice/nbd, doc/proto.md, fixed newstyle.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define INIT_MAGIC 0x4e42444d41474943ULL
#define OPTION_MAGIC 0x49484156454f5054ULL
#define OPTION_REPLY_MAGIC 0x0003e889045565a9ULL
#define REQUEST_MAGIC 0x25609513U
#define REPLY_MAGIC 0x67446698U
#define OPT_GO 7U
#define REPLY_ACK 1U
#define REPLY_INFO 3U
#define MIB (1024U * 1024U)

static unsigned char buffer[8 * MIB];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void read_all(int fd, void *to, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t got = read(fd, (char *)to + done, bytes - done);
        if (got <= 0) fail("connection lost");
        done += (size_t)got;
    }
}

static void write_all(int fd, const void *from, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t put = write(fd, (const char *)from + done, bytes - done);
        if (put <= 0) fail("connection lost");
        done += (size_t)put;
    }
}

static struct sockaddr_in address_of(const char *host, const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) fail(host);
    return address;
}

/* To a port that only root may take: others get no disk. */
static void bind_privileged(int fd, uint32_t from) {
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(from)};
    for (uint16_t port = 1023; port >= 665; port--) {
        own.sin_port = htons(port);
        if (bind(fd, (struct sockaddr *)&own, sizeof own) == 0) return;
        if (errno != EADDRINUSE) break;
    }
    fail("bind");
}

/* `from` is an address of this machine in host byte order, or 0 for any. */
static int connect_to(const char *host, const char *port, uint32_t from) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    struct sockaddr_in to = address_of(host, port);
    if (fd < 0) fail("socket");
    bind_privileged(fd, from);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
    return fd;
}

static uint64_t get64(const unsigned char *at) {
    uint64_t value;
    memcpy(&value, at, 8);
    return be64toh(value);
}

static uint32_t get32(const unsigned char *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return ntohl(value);
}

static void put32(unsigned char *at, uint32_t value) {
    value = htonl(value);
    memcpy(at, &value, 4);
}

static void put64(unsigned char *at, uint64_t value) {
    value = htobe64(value);
    memcpy(at, &value, 8);
}

/* Gives the size of the export. */
static uint64_t negotiate(int fd, const char *name) {
    unsigned char head[20];
    unsigned char option[4 + 16 + 4 + 256 + 2] = {0};
    uint64_t size = 0;
    uint32_t length = (uint32_t)strlen(name);
    read_all(fd, head, 18);
    if (get64(head) != INIT_MAGIC || get64(head + 8) != OPTION_MAGIC || length > 255) fail("handshake");
    put32(option, 3); /* fixed newstyle, no zeroes */
    put64(option + 4, OPTION_MAGIC);
    put32(option + 12, OPT_GO);
    put32(option + 16, 4 + length + 2);
    put32(option + 20, length);
    memcpy(option + 24, name, length);
    write_all(fd, option, 24 + length + 2);
    for (;;) {
        read_all(fd, head, 20);
        uint32_t type = get32(head + 12);
        uint32_t bytes = get32(head + 16);
        if (get64(head) != OPTION_REPLY_MAGIC || bytes > sizeof buffer) fail("option reply");
        read_all(fd, buffer, bytes);
        if (type == REPLY_ACK) return size;
        if (type != REPLY_INFO) {
            fprintf(stderr, "the server refuses the export %s\n", name);
            exit(1);
        }
        if (bytes >= 10 && buffer[0] == 0 && buffer[1] == 0) size = get64(buffer + 2);
    }
}

static void ask(int fd, uint64_t offset, uint32_t bytes) {
    unsigned char request[28] = {0};
    put32(request, REQUEST_MAGIC);
    put64(request + 8, offset);
    put64(request + 16, offset);
    put32(request + 24, bytes);
    write_all(fd, request, sizeof request);
}

static uint32_t bytes_at(uint64_t offset, uint64_t size, uint32_t most) {
    return size - offset < most ? (uint32_t)(size - offset) : most;
}

/* Reads [0, size) with `depth` requests under way. */
static void read_range(int fd, uint64_t size, unsigned depth, uint32_t most) {
    uint64_t asked = 0;
    uint64_t got = 0;
    for (unsigned i = 0; i < depth && asked < size; i++, asked += bytes_at(asked, size, most)) ask(fd, asked, bytes_at(asked, size, most));
    while (got < size) {
        unsigned char reply[16];
        read_all(fd, reply, sizeof reply);
        if (get32(reply) != REPLY_MAGIC || get32(reply + 4) != 0) fail("read error from the server");
        uint32_t bytes = bytes_at(get64(reply + 8), size, most);
        read_all(fd, buffer, bytes);
        got += bytes;
        if (asked < size) {
            uint32_t next = bytes_at(asked, size, most);
            ask(fd, asked, next);
            asked += next;
        }
    }
}

static void print_result(uint64_t bytes, double seconds) {
    printf("{\"bytes\":%llu,\"seconds\":%.6f}\n", (unsigned long long)bytes, seconds);
    fflush(stdout);
}

static void read_export(char **args) {
    int fd = connect_to(args[0], args[1], 0);
    uint64_t size = negotiate(fd, args[2]);
    uint32_t most = (uint32_t)atoi(args[4]);
    if (most == 0 || most > sizeof buffer) fail("request size");
    double start = now();
    read_range(fd, size, (unsigned)atoi(args[3]), most);
    print_result(size, now() - start);
}

static void hold(char **args) {
    struct in_addr first;
    unsigned count = (unsigned)atoi(args[4]);
    if (inet_pton(AF_INET, args[3], &first) != 1) fail(args[3]);
    double start = now();
    for (unsigned i = 0; i < count; i++) {
        int fd = connect_to(args[0], args[1], ntohl(first.s_addr) + i);
        uint64_t size = negotiate(fd, args[2]);
        read_range(fd, size < MIB ? size : MIB, 1, 128 * 1024);
    }
    print_result((uint64_t)count * MIB, now() - start);
    pause();
}

static void source(char **args) {
    struct sockaddr_in own = address_of(args[0], args[1]);
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&own, sizeof own) < 0 || listen(listener, 1) < 0) fail("listen");
    int fd = accept(listener, NULL, NULL);
    for (uint64_t left = strtoull(args[2], NULL, 10); left > 0;) {
        size_t bytes = left < MIB ? (size_t)left : MIB;
        write_all(fd, buffer, bytes);
        left -= bytes;
    }
    close(fd);
}

static void sink(char **args) {
    int fd = connect_to(args[0], args[1], 0);
    uint64_t bytes = 0;
    double start = now();
    for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;) bytes += (uint64_t)got;
    print_result(bytes, now() - start);
}

int main(int count, char **args) {
    static const struct {
        const char *name;
        int arguments;
        void (*run)(char **);
    } modes[] = {{"read", 5, read_export}, {"hold", 5, hold}, {"source", 3, source}, {"sink", 2, sink}};
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (count >= 2 && strcmp(args[1], modes[i].name) == 0 && count == modes[i].arguments + 2) {
            modes[i].run(args + 2);
            return 0;
        }
    }
    fprintf(stderr, "usage: nbd-load read|hold|source|sink ...\n");
    return 2;
}
