/*
 * The client's half of the NBD handshake (newstyle, NBD_OPT_GO), with a time limit on every step: a server whose backlog
 * is full accepts in its kernel and never speaks. Protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
 *
 * Included by the attacher and by the load client of the tests, which stands for many nodes.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define OPTION_MAGIC 0x49484156454F5054ULL
#define OPTION_REPLY_MAGIC 0x0003e889045565a9ULL
#define REQUEST_MAGIC 0x25609513U
#define REPLY_MAGIC 0x67446698U

enum { OPT_GO = 7, REP_ACK = 1, REP_INFO = 3, INFO_EXPORT = 0, CMD_READ = 0 };

/* Each step; the server ends a client's earlier connection before it answers NBD_OPT_GO, which takes it up to 4 s. */
static const int handshake_ms = 5000;
/*
 * The connection and the greeting, at the first try; later ones wait longer. nbd-server listens with a backlog of 10: of 200
 * nodes that connect at once most are connected as far as they know, and will never hear anything.
 */
enum { greeting_ms = 700 };
/* No data acknowledged for this long means that the link is dead. */
#ifndef USER_TIMEOUT_MS
#define USER_TIMEOUT_MS 20000
#endif
/*
 * A port that only root may take is how the server tells this program from the node's users (src/servers/nbd/fence.sh). The
 * range is that of the kernel's NFS client: above 623 and 664, which a network card may keep for remote management.
 */
enum { lowest_port = 665, highest_port = 1023 };

struct disk {
    uint64_t size;
    uint16_t flags;
    uint8_t identity[4096];
};

struct target {
    struct sockaddr_in server;
    /* Left zero where the kernel may choose. */
    struct in_addr source;
    const char *export_name;
};

/* Of one disk, from the first try to the one that succeeds. */
struct patience {
    int greeting_ms;
    int wait_ms;
};

/* Called at least every `handshake_ms` while the caller waits in here. */
static void heartbeat(void);

static int read_all(int fd, void *data, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = recv(fd, (char *)data + done, length - done, 0);
        heartbeat();
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ECONNRESET;
        if (n <= 0)
            return -1;
        done += n;
    }
    return 0;
}

static int write_all(int fd, const void *data, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = send(fd, (const char *)data + done, length - done, MSG_NOSIGNAL);
        heartbeat();
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        done += n;
    }
    return 0;
}

static int skip(int fd, size_t length)
{
    char part[256];

    while (length > 0) {
        size_t n = length < sizeof part ? length : sizeof part;
        if (read_all(fd, part, n))
            return -1;
        length -= n;
    }
    return 0;
}

static void set_io_timeouts(int fd, int ms)
{
    struct timeval limit = { ms / 1000, ms % 1000 * 1000 };

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

/* Drops queued data and resets: an ordinary close would still deliver old writes after the new connection's. */
static void abort_connection(int fd)
{
    struct linger none = { 1, 0 };
    struct sockaddr nobody = { .sa_family = AF_UNSPEC };

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    connect(fd, &nobody, sizeof nobody);
}

static int connect_from(const struct target *to, int port, int limit_ms)
{
    struct sockaddr_in source = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = to->source };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    set_io_timeouts(fd, limit_ms);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    /* So that a service of the node that wants this port can listen there all the same. */
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(fd, (const struct sockaddr *)&source, sizeof source) ||
        connect(fd, (const struct sockaddr *)&to->server, sizeof to->server)) {
        int error = errno;
        close(fd);
        /* What connect says when SO_SNDTIMEO has passed. */
        errno = error == EINPROGRESS ? ETIMEDOUT : error;
        return -1;
    }
    heartbeat();
    return fd;
}

/* A port may be taken, or still wait out its last connection to this server, of which only connect knows. */
static int connect_server(const struct target *to, int limit_ms)
{
    int ports = highest_port - lowest_port + 1;
    int first = rand() % ports;

    for (int i = 0; i < ports; i++) {
        int fd = connect_from(to, lowest_port + (first + i) % ports, limit_ms);
        if (fd >= 0 || (errno != EADDRINUSE && errno != EADDRNOTAVAIL))
            return fd;
    }
    return -1;
}

static int negotiate(int fd, const char *export_name, struct disk *disk)
{
    struct { uint64_t magic, option; uint16_t flags; } __attribute__((packed)) hello;
    struct { uint32_t flags; uint64_t magic; uint32_t option, length, name; } __attribute__((packed)) go;
    struct { uint64_t magic; uint32_t option, type, length; } __attribute__((packed)) reply;
    struct { uint16_t type; uint64_t size; uint16_t flags; } __attribute__((packed)) info;
    uint32_t name_length = strlen(export_name);
    uint16_t no_infos = 0;
    int known = 0;

    if (read_all(fd, &hello, sizeof hello))
        return -1;
    if (memcmp(&hello.magic, "NBDMAGIC", 8) || be64toh(hello.option) != OPTION_MAGIC) {
        errno = EPROTO;
        return -1;
    }
    set_io_timeouts(fd, handshake_ms);
    go.flags = htobe32(be16toh(hello.flags) & 3);
    go.magic = htobe64(OPTION_MAGIC);
    go.option = htobe32(OPT_GO);
    go.length = htobe32(4 + name_length + 2);
    go.name = htobe32(name_length);
    if (write_all(fd, &go, sizeof go) || write_all(fd, export_name, name_length) || write_all(fd, &no_infos, sizeof no_infos))
        return -1;
    for (;;) {
        uint32_t length;
        if (read_all(fd, &reply, sizeof reply))
            return -1;
        length = be32toh(reply.length);
        if (be64toh(reply.magic) != OPTION_REPLY_MAGIC || length > 65536) {
            errno = EPROTO;
            return -1;
        }
        switch (be32toh(reply.type)) {
        case REP_ACK:
            errno = EPROTO;
            return known ? 0 : -1;
        case REP_INFO:
            if (length < sizeof info) {
                if (skip(fd, length))
                    return -1;
                break;
            }
            if (read_all(fd, &info, sizeof info) || skip(fd, length - sizeof info))
                return -1;
            if (be16toh(info.type) == INFO_EXPORT) {
                disk->size = be64toh(info.size);
                disk->flags = be16toh(info.flags);
                known = 1;
            }
            break;
        default:
            /* The export is not there for us (yet). */
            errno = ENOENT;
            return -1;
        }
    }
}

/* Reads what tells one disk from another before the kernel uses the socket. */
static int read_identity(int fd, struct disk *disk)
{
    struct { uint32_t magic; uint16_t flags, type; uint64_t cookie, offset; uint32_t length; } __attribute__((packed)) request = {
        htobe32(REQUEST_MAGIC), 0, htobe16(CMD_READ), 0, 0, htobe32(sizeof disk->identity)
    };
    struct { uint32_t magic, error; uint64_t cookie; } __attribute__((packed)) reply;

    if (write_all(fd, &request, sizeof request) || read_all(fd, &reply, sizeof reply))
        return -1;
    if (be32toh(reply.magic) != REPLY_MAGIC || reply.error) {
        errno = EIO;
        return -1;
    }
    return read_all(fd, disk->identity, sizeof disk->identity);
}

/* A connection that is ready for requests, or -1 with errno. */
static int open_disk(const struct target *to, struct disk *disk, const struct patience *patience)
{
    int fd = connect_server(to, patience->greeting_ms);

    if (fd < 0)
        return -1;
    if (negotiate(fd, to->export_name, disk) || read_identity(fd, disk)) {
        int error = errno;
        abort_connection(fd);
        close(fd);
        errno = error == EAGAIN ? ETIMEDOUT : error;
        return -1;
    }
    /* The kernel goes on with the socket as it is; its I/O must not time out. */
    set_io_timeouts(fd, 0);
    return fd;
}

static void sleep_ms(int ms)
{
    struct timespec time = { ms / 1000, ms % 1000 * 1000000L };

    nanosleep(&time, NULL);
    heartbeat();
}

/* Half to one and a half of `ms`: nodes that lost one server together do not come back in one instant. */
static int jitter(int ms)
{
    return ms / 2 + rand() % (ms + 1);
}

static const struct patience fresh = { greeting_ms, 100 };

static int longer(int ms, int most_ms)
{
    return ms * 3 / 2 < most_ms ? ms * 3 / 2 : most_ms;
}

/* Waits before the next try, which will be more patient. */
static void back_off(struct patience *patience)
{
    sleep_ms(jitter(patience->wait_ms));
    patience->wait_ms = longer(patience->wait_ms, 2000);
    patience->greeting_ms = longer(patience->greeting_ms, handshake_ms);
}
