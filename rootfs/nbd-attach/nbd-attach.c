/*
 * nbd-attach: attaches one NBD export to /dev/nbdN and keeps it attached.
 *
 *   nbd-attach INDEX ADDRESS PORT EXPORT
 *   nbd-attach -d INDEX                      detaches, at power-off
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
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/reboot.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#include "handshake.h"

/* Of /dev/nbdN. */
static int device;

#include "netlink.h"
#include "guard.h"

/* Settings as macros can be changed by a test that shows what they prevent. */
#ifndef ABORT_OLD
#define ABORT_OLD 1
#endif
/* Measured over whole boots (ARCHITECTURE.md): less costs requests, more costs bytes. */
#ifndef READ_AHEAD_KB
#define READ_AHEAD_KB "128"
#endif

/* How often the kernel looks whether requests in flight must be sent again on a new socket. */
static const char *const io_timeout_ms = "5000";
/* The disk was made anew under a node that runs: its old one does not come back. */
static const int other_disk_limit_s = 60;
/*
 * The server hangs up while somebody copies the disk (fence.sh, hold), which may take minutes and is no fault of a node that
 * boots. 20 tries with 3 s each for that lock are over in one or two. The initramfs says how long its deadline leaves, so
 * that it can say what it was.
 */
static const char not_now_limit[] = "NBD_PATIENCE_S";
static const int not_now_limit_s = 600;
/* What the server offers instead of a disk that may have lost what it acknowledged (src/daemon/exports.ts). */
static const char reboot_mark[] = "CARDLESS REBOOT\n";

static struct target target;
static FILE *kmsg;
static int sysrq = -1;
static int watchdog = -1;

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

/* The hardware restarts a node whose attacher is gone, for its root would never come back. */
static void heartbeat(void)
{
    if (watchdog >= 0 && write(watchdog, "", 1) < 0 && errno == EBADF)
        watchdog = -1;
}

/* At once, without writing anything back: the disk must be checked before it is written to again. */
static void restart_node(const char *why)
{
    say("%s; this node restarts", why);
    /* Time for the console to print it. */
    sleep_ms(1000);
    reboot(RB_AUTOBOOT);
    if (sysrq < 0 || write(sysrq, "b", 1) < 0)
        say("cannot restart: %s", strerror(errno));
    for (;;)
        pause();
}

static int asks_for_reboot(const struct disk *disk)
{
    return !memcmp(disk->identity, reboot_mark, sizeof reboot_mark - 1);
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

static void set_queue(const char *name, const char *value)
{
    char path[64];
    int fd;

    snprintf(path, sizeof path, "/sys/block/nbd%d/queue/%s", device, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        say("%s not set: %s", name, strerror(errno));
    if (fd >= 0)
        close(fd);
}

static int connect_again(int old, const struct disk *expected)
{
    struct disk disk;
    struct patience patience = fresh;
    int last_error = 0;
    time_t other_since = 0;

    if (ABORT_OLD)
        abort_connection(old);
    for (;;) {
        struct timespec now;
        int fd = open_disk(&target, &disk, &patience);
        int error = errno;

        clock_gettime(CLOCK_MONOTONIC, &now);
        if (fd < 0) {
            other_since = 0;
        } else if (same_disk(&disk, expected)) {
            return fd;
        } else {
            close(fd);
            if (asks_for_reboot(&disk))
                restart_node("the server's machine was restarted and may have lost writes");
            error = EMEDIUMTYPE;
            other_since = other_since ? other_since : now.tv_sec;
            if (now.tv_sec - other_since > other_disk_limit_s)
                restart_node("the server has another disk for this node");
        }
        if (error != last_error) {
            last_error = error;
            say("%s; trying again", error == EMEDIUMTYPE ? "the server offers another disk" : strerror(error));
        }
        back_off(&patience);
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
        heartbeat();
        if (!link_is_dead(events, fd))
            continue;
        if (!is_attached(nl, family)) {
            /* An orderly end: the hardware need not watch any more. */
            if (watchdog >= 0 && write(watchdog, "V", 1) == 1)
                close(watchdog);
            say("detached");
            return;
        }
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

    sysrq = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
    watchdog = open("/dev/watchdog", O_WRONLY | O_CLOEXEC);
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

/* At power-off, after the file systems are gone: the server then knows that this connection is over. */
static int detach(int nl)
{
    uint16_t family;
    uint32_t group;

    if (nl < 0 || resolve_family(nl, &family, &group) || disconnect(nl, family))
        return give_up("disconnect");
    return 0;
}

static int set_target(char **argv)
{
    static char name[128];

    /* A copy: the arguments are overwritten in place later on. */
    snprintf(name, sizeof name, "%s", argv[4]);
    target.export_name = name;
    target.server.sin_family = AF_INET;
    target.server.sin_port = htons(atoi(argv[3]));
    errno = EINVAL;
    return inet_pton(AF_INET, argv[2], &target.server.sin_addr) == 1 ? 0 : -1;
}

/* Before anything of the node's system runs. Without, what the node forwards can reach its disks: better than no disks. */
static void guard_disks(void)
{
    if (keep_to_root(&target.server))
        say("containers are not kept from the disks: %s", strerror(errno));
}

/* Not of the clock: boards without a battery all have the same time and process numbers at this point. */
static void seed_random(void)
{
    unsigned seed;

    memcpy(&seed, (const void *)getauxval(AT_RANDOM), sizeof seed);
    srand(seed);
}

static int first_connection(struct disk *disk)
{
    struct patience patience = fresh;
    struct timespec start, now;
    const char *said = getenv(not_now_limit);
    int limit_s = said ? atoi(said) : not_now_limit_s, attempt = 0;

    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        int fd = open_disk(&target, disk, &patience);
        if (fd >= 0 && asks_for_reboot(disk)) {
            close(fd);
            fd = -1;
            errno = ESTALE;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        /* A busy server may need longer for some of its refusals than we wait: those in between count anew. */
        attempt = errno == ECONNRESET ? 0 : attempt + 1;
        if (fd >= 0 || attempt == 20 || (!attempt && now.tv_sec - start.tv_sec > limit_s))
            return fd;
        back_off(&patience);
    }
}

int main(int argc, char **argv)
{
    struct disk disk = { 0 };
    uint16_t family;
    uint32_t group;
    int nl, events, fd;

    if (argc != 5 && !(argc == 3 && !strcmp(argv[1], "-d"))) {
        fprintf(stderr, "usage: nbd-attach INDEX ADDRESS PORT EXPORT\n       nbd-attach -d INDEX\n");
        return 2;
    }
    device = atoi(argv[argc == 3 ? 2 : 1]);
    kmsg = fopen("/dev/kmsg", "we");
    if (!kmsg)
        return give_up("/dev/kmsg");
    nl = open_netlink(NETLINK_GENERIC);
    if (argc == 3)
        return detach(nl);
    if (set_target(argv))
        return give_up(argv[2]);
    seed_random();
    guard_disks();
    events = open_netlink(NETLINK_GENERIC);
    if (nl < 0 || events < 0 || resolve_family(nl, &family, &group))
        return give_up("netlink");
    /* Joined before the first connection, so that no death goes unheard. */
    if (setsockopt(events, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group))
        return give_up("netlink group");
    fd = first_connection(&disk);
    if (fd < 0)
        return give_up(target.export_name);
    if (attach(nl, family, fd, &disk))
        return give_up("the kernel refused the device");
    set_queue("io_timeout", io_timeout_ms);
    set_queue("read_ahead_kb", READ_AHEAD_KB);
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
