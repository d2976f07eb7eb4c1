/*
 * nbd-attach: attaches one NBD export to /dev/nbdN and keeps it attached.
 *
 *   nbd-attach INDEX ADDRESS PORT EXPORT
 *
 * Does the NBD handshake (newstyle, NBD_OPT_GO), hands the socket to the kernel by generic netlink and returns when
 * the device is ready; a child stays behind. When the connection dies the kernel holds all I/O; the child connects
 * again and hands over the new socket, so a mounted file system never sees an error.
 *
 * Two things must not be missed, or old data overwrites new data silently: the old TCP connection is aborted before
 * a new one is opened (else its queued writes arrive late), and a new connection is used only if it serves the disk
 * that this one served.
 *
 * The process comes from the initramfs and lives until power-off: argv[0] begins with '@', which makes systemd spare
 * it at shutdown, its memory is locked, and it needs no file once it has started.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <endian.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define OPTION_MAGIC 0x49484156454F5054ULL
#define OPTION_REPLY_MAGIC 0x0003e889045565a9ULL
#define REQUEST_MAGIC 0x25609513U
#define REPLY_MAGIC 0x67446698U

enum { OPT_GO = 7, REP_ACK = 1, REP_INFO = 3, INFO_EXPORT = 0, CMD_READ = 0 };

/* A held I/O waits this long for a new connection: ten years, or what fits a 32-bit kernel's tick counter. */
static const uint64_t dead_conn_seconds = sizeof(long) == 8 ? 315360000 : 2000000;
static const int handshake_ms = 5000;
/* No data acknowledged for this long means that the link is dead. */
static const int user_timeout_ms = 20000;
/* How often the kernel looks whether requests in flight must be sent again on a new socket. */
static const char *const io_timeout_ms = "5000";
static const int block_size = 512;

struct disk {
    uint64_t size;
    uint16_t flags;
    uint8_t identity[4096];
};

static int device;
static struct sockaddr_in server;
static const char *export_name;
static FILE *kmsg;

static void say(const char *format, ...)
{
    va_list args;
    char line[256];

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(kmsg, "nbd-attach: nbd%d: %s\n", device, line);
    fflush(kmsg);
}

static int read_all(int fd, void *data, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = recv(fd, (char *)data + done, length - done, 0);
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

/* A server whose backlog is full accepts in its kernel and never speaks, so everything here has a time limit. */
static int connect_server(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    set_io_timeouts(fd, handshake_ms);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout_ms);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    if (connect(fd, (struct sockaddr *)&server, sizeof server)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int negotiate(int fd, struct disk *disk)
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

static int same_disk(const struct disk *a, const struct disk *b)
{
    /* ext4: magic at 1080, UUID at 1128; the rest of its superblock changes while it is mounted. */
    static const uint8_t ext4_magic[2] = { 0x53, 0xef };

    if (a->size != b->size || a->flags != b->flags)
        return 0;
    if (!memcmp(a->identity + 1080, ext4_magic, 2))
        return !memcmp(b->identity + 1080, ext4_magic, 2) && !memcmp(a->identity + 1128, b->identity + 1128, 16);
    return !memcmp(a->identity, b->identity, sizeof a->identity);
}

static int open_disk(struct disk *disk)
{
    int fd = connect_server();

    if (fd < 0)
        return -1;
    if (negotiate(fd, disk) || read_identity(fd, disk)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    /* The kernel goes on with the socket as it is; its I/O must not time out. */
    set_io_timeouts(fd, 0);
    return fd;
}

/* ---- generic netlink ---- */

struct message {
    struct nlmsghdr head;
    struct genlmsghdr genl;
    char attributes[512];
};

static void *put(struct message *m, uint16_t type, const void *data, size_t length)
{
    struct nlattr *attribute = (struct nlattr *)((char *)m + NLMSG_ALIGN(m->head.nlmsg_len));

    attribute->nla_type = type;
    attribute->nla_len = NLA_HDRLEN + length;
    if (length > 0)
        memcpy((char *)attribute + NLA_HDRLEN, data, length);
    m->head.nlmsg_len = NLMSG_ALIGN(m->head.nlmsg_len) + NLA_ALIGN(attribute->nla_len);
    return attribute;
}

static void put_u32(struct message *m, uint16_t type, uint32_t value) { put(m, type, &value, sizeof value); }
static void put_u64(struct message *m, uint16_t type, uint64_t value) { put(m, type, &value, sizeof value); }

static void put_socket(struct message *m, int fd)
{
    struct nlattr *list = put(m, NBD_ATTR_SOCKETS | NLA_F_NESTED, NULL, 0);
    struct nlattr *item = put(m, NBD_SOCK_ITEM | NLA_F_NESTED, NULL, 0);

    put_u32(m, NBD_SOCK_FD, fd);
    item->nla_len = (char *)m + m->head.nlmsg_len - (char *)item;
    list->nla_len = (char *)m + m->head.nlmsg_len - (char *)list;
}

static void start_message(struct message *m, uint16_t family, uint8_t command)
{
    static uint32_t sequence = 1;

    memset(m, 0, sizeof *m);
    m->head.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
    m->head.nlmsg_type = family;
    m->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    m->head.nlmsg_seq = sequence++;
    m->genl.cmd = command;
    m->genl.version = 1;
}

/* Sends and waits for the acknowledgement. 0, or -1 with errno. `answer` gets a reply that came before it. */
static int transact(int nl, struct message *m, char *answer, size_t size)
{
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
    char buffer[8192];

    if (sendto(nl, m, m->head.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        return -1;
    for (;;) {
        ssize_t n = recv(nl, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        for (struct nlmsghdr *h = (struct nlmsghdr *)buffer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
            if (h->nlmsg_seq != m->head.nlmsg_seq)
                continue;
            if (h->nlmsg_type == NLMSG_ERROR) {
                errno = -((struct nlmsgerr *)NLMSG_DATA(h))->error;
                return errno ? -1 : 0;
            }
            if (answer && h->nlmsg_len <= size)
                memcpy(answer, h, h->nlmsg_len);
        }
    }
}

static struct nlattr *find(char *at, int length, uint16_t type)
{
    for (struct nlattr *a = (struct nlattr *)at; length >= NLA_HDRLEN && a->nla_len >= NLA_HDRLEN && a->nla_len <= length;) {
        int step = NLA_ALIGN(a->nla_len);
        if ((a->nla_type & NLA_TYPE_MASK) == type)
            return a;
        length -= step;
        a = (struct nlattr *)((char *)a + step);
    }
    return NULL;
}

static char *payload(struct nlattr *a) { return (char *)a + NLA_HDRLEN; }
static int payload_length(struct nlattr *a) { return a->nla_len - NLA_HDRLEN; }

/* The number of the nbd family and of its multicast group; both are handed out at run time. */
static int resolve_family(int nl, uint16_t *family, uint32_t *group)
{
    struct message m;
    char answer[8192] = "";
    struct nlmsghdr *head = (struct nlmsghdr *)answer;
    struct nlattr *id, *groups;
    char *at;
    int length;

    start_message(&m, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    put(&m, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME, sizeof NBD_GENL_FAMILY_NAME);
    if (transact(nl, &m, answer, sizeof answer))
        return -1;
    at = (char *)NLMSG_DATA(head) + GENL_HDRLEN;
    length = (int)head->nlmsg_len - NLMSG_HDRLEN - GENL_HDRLEN;
    id = find(at, length, CTRL_ATTR_FAMILY_ID);
    groups = find(at, length, CTRL_ATTR_MCAST_GROUPS);
    errno = ENOENT;
    if (!id || !groups)
        return -1;
    memcpy(family, payload(id), sizeof *family);
    for (uint16_t index = 1;; index++) {
        struct nlattr *item = find(payload(groups), payload_length(groups), index);
        struct nlattr *name, *number;
        if (!item)
            return -1;
        name = find(payload(item), payload_length(item), CTRL_ATTR_MCAST_GRP_NAME);
        number = find(payload(item), payload_length(item), CTRL_ATTR_MCAST_GRP_ID);
        if (name && number && !strcmp(payload(name), NBD_GENL_MCAST_GROUP_NAME)) {
            memcpy(group, payload(number), sizeof *group);
            return 0;
        }
    }
}

static int open_netlink(void)
{
    struct sockaddr_nl self = { .nl_family = AF_NETLINK };
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);

    if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof self))
        return -1;
    return fd;
}

static int attach(int nl, uint16_t family, int fd, const struct disk *disk)
{
    struct message m;

    start_message(&m, family, NBD_CMD_CONNECT);
    put_u32(&m, NBD_ATTR_INDEX, device);
    put_u64(&m, NBD_ATTR_SIZE_BYTES, disk->size);
    put_u64(&m, NBD_ATTR_BLOCK_SIZE_BYTES, block_size);
    /* 0: a slow server is waited for, not taken for dead. */
    put_u64(&m, NBD_ATTR_TIMEOUT, 0);
    put_u64(&m, NBD_ATTR_DEAD_CONN_TIMEOUT, dead_conn_seconds);
    put_u64(&m, NBD_ATTR_SERVER_FLAGS, disk->flags);
    put_u64(&m, NBD_ATTR_CLIENT_FLAGS, 0);
    put_socket(&m, fd);
    return transact(nl, &m, NULL, 0);
}

static int reattach(int nl, uint16_t family, int fd)
{
    struct message m;

    start_message(&m, family, NBD_CMD_RECONFIGURE);
    put_u32(&m, NBD_ATTR_INDEX, device);
    put_socket(&m, fd);
    return transact(nl, &m, NULL, 0);
}

static void set_request_check(void)
{
    char path[64];
    int fd;

    snprintf(path, sizeof path, "/sys/block/nbd%d/queue/io_timeout", device);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, io_timeout_ms, strlen(io_timeout_ms)) < 0)
        say("io_timeout not set: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* Drops queued data and resets: an ordinary close would still deliver old writes after the new connection's. */
static void abort_connection(int fd)
{
    struct linger none = { 1, 0 };
    struct sockaddr nobody = { .sa_family = AF_UNSPEC };

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    connect(fd, &nobody, sizeof nobody);
}

static void sleep_ms(int ms)
{
    struct timespec time = { ms / 1000, ms % 1000 * 1000000L };

    nanosleep(&time, NULL);
}

/* Half to one and a half of `ms`: nodes that lost one server together do not come back in one instant. */
static int jitter(int ms)
{
    return ms / 2 + rand() % (ms + 1);
}

static int connect_again(int old, const struct disk *expected)
{
    struct disk disk;
    int wait_ms = 100;
    int last_error = 0;

    abort_connection(old);
    for (;;) {
        int fd = open_disk(&disk);
        if (fd >= 0) {
            if (same_disk(&disk, expected))
                return fd;
            close(fd);
            errno = EMEDIUMTYPE;
        }
        if (errno != last_error) {
            last_error = errno;
            say("%s; trying again", last_error == EMEDIUMTYPE ? "the server offers another disk" : strerror(last_error));
        }
        sleep_ms(jitter(wait_ms));
        wait_ms = wait_ms * 3 / 2 < 2000 ? wait_ms * 3 / 2 : 2000;
    }
}

static int link_is_dead(int events, int fd)
{
    char buffer[4096];
    struct pollfd wait[2] = { { .fd = events, .events = POLLIN }, { .fd = fd, .events = POLLRDHUP } };

    /* A LINK_DEAD message can be lost, so the socket itself is watched too. */
    if (poll(wait, 2, 5000) <= 0)
        return 0;
    if (wait[1].revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL)) {
        /* The kernel marks the socket dead a moment after we see it, and ignores a replacement until then. */
        sleep_ms(200);
        while (recv(events, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
            ;
        return 1;
    }
    if (wait[0].revents) {
        ssize_t n = recv(events, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0)
            return errno == ENOBUFS;
        for (struct nlmsghdr *h = (struct nlmsghdr *)buffer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
            struct genlmsghdr *genl = NLMSG_DATA(h);
            struct nlattr *index = find((char *)genl + GENL_HDRLEN, (int)h->nlmsg_len - NLMSG_HDRLEN - GENL_HDRLEN, NBD_ATTR_INDEX);
            if (genl->cmd == NBD_CMD_LINK_DEAD && index && *(uint32_t *)payload(index) == (uint32_t)device)
                return 1;
        }
    }
    return 0;
}

static void watch(int nl, int events, uint16_t family, int fd, const struct disk *disk)
{
    for (;;) {
        int fresh;
        if (!link_is_dead(events, fd))
            continue;
        say("connection lost, I/O waits");
        fresh = connect_again(fd, disk);
        if (reattach(nl, family, fresh)) {
            say("kernel refused the new connection: %s", strerror(errno));
            close(fresh);
            sleep_ms(1000);
            continue;
        }
        close(fd);
        fd = fresh;
        say("connected again");
    }
}

static void live_until_power_off(char **argv)
{
    int null = open("/dev/null", O_RDWR);
    int adj = open("/proc/self/oom_score_adj", O_WRONLY);

    argv[0][0] = '@';
    mlockall(MCL_CURRENT | MCL_FUTURE);
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
    if (adj >= 0) {
        if (write(adj, "-1000", 5) < 0)
            say("oom_score_adj not set: %s", strerror(errno));
        close(adj);
    }
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    for (int fd = 0; null >= 0 && fd < 3; fd++)
        dup2(null, fd);
    setsid();
    if (chdir("/"))
        say("chdir: %s", strerror(errno));
}

static int give_up(const char *what)
{
    fprintf(stderr, "nbd-attach: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    struct disk disk = { 0 };
    uint16_t family;
    uint32_t group;
    char address[32], name[128];
    int nl, events, fd = -1;

    if (argc != 5) {
        fprintf(stderr, "usage: nbd-attach INDEX ADDRESS PORT EXPORT\n");
        return 2;
    }
    device = atoi(argv[1]);
    /* Copies: the arguments are overwritten in place later on. */
    snprintf(address, sizeof address, "%s", argv[2]);
    snprintf(name, sizeof name, "%s", argv[4]);
    export_name = name;
    server.sin_family = AF_INET;
    server.sin_port = htons(atoi(argv[3]));
    if (inet_pton(AF_INET, address, &server.sin_addr) != 1) {
        errno = EINVAL;
        return give_up(address);
    }
    kmsg = fopen("/dev/kmsg", "we");
    if (!kmsg)
        return give_up("/dev/kmsg");
    srand(time(NULL) ^ getpid());

    nl = open_netlink();
    events = open_netlink();
    if (nl < 0 || events < 0 || resolve_family(nl, &family, &group))
        return give_up("netlink");
    /* Joined before the first connection, so that no death goes unheard. */
    if (setsockopt(events, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group))
        return give_up("netlink group");
    for (int attempt = 1; attempt <= 20 && fd < 0; attempt++) {
        fd = open_disk(&disk);
        if (fd < 0 && attempt < 20)
            sleep_ms(jitter(500));
    }
    if (fd < 0)
        return give_up(export_name);
    if (attach(nl, family, fd, &disk))
        return give_up("the kernel refused the device");
    set_request_check();
    switch (fork()) {
    case -1:
        return give_up("fork");
    case 0:
        live_until_power_off(argv);
        watch(nl, events, family, fd, &disk);
        return 0;
    default:
        return 0;
    }
}
