/*
 * The kernel's side: attaching a socket to /dev/nbdN by generic netlink. Numbers and attributes are those of
 * <linux/nbd-netlink.h>.
 */
#include <linux/fib_rules.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#ifndef REQUEST_TIMEOUT_S
/* 0: a slow server is waited for, not taken for dead. */
#define REQUEST_TIMEOUT_S 0
#endif

/* A held I/O waits this long for a new connection: ten years, or what fits a 32-bit kernel's tick counter. */
static const uint64_t dead_conn_seconds = sizeof(long) == 8 ? 315360000 : 2000000;
static const int block_size = 512;

struct message {
    struct nlmsghdr head;
    union {
        struct genlmsghdr genl;
        struct fib_rule_hdr rule;
    };
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

static void start_request(struct message *m, uint16_t type, size_t header_length)
{
    static uint32_t sequence = 1;

    memset(m, 0, sizeof *m);
    m->head.nlmsg_len = NLMSG_LENGTH(header_length);
    m->head.nlmsg_type = type;
    m->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    m->head.nlmsg_seq = sequence++;
}

static void start_message(struct message *m, uint16_t family, uint8_t command)
{
    start_request(m, family, GENL_HDRLEN);
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

static int open_netlink(int protocol)
{
    struct sockaddr_nl self = { .nl_family = AF_NETLINK };
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

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
    put_u64(&m, NBD_ATTR_TIMEOUT, REQUEST_TIMEOUT_S);
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

static int disconnect(int nl, uint16_t family)
{
    struct message m;

    start_message(&m, family, NBD_CMD_DISCONNECT);
    put_u32(&m, NBD_ATTR_INDEX, device);
    return transact(nl, &m, NULL, 0);
}

/* False after a disconnect. During an outage the kernel still calls the device connected. */
static int is_attached(int nl, uint16_t family)
{
    struct message m;
    char answer[8192] = "";
    struct nlmsghdr *head = (struct nlmsghdr *)answer;
    struct nlattr *list, *item, *connected;

    start_message(&m, family, NBD_CMD_STATUS);
    put_u32(&m, NBD_ATTR_INDEX, device);
    if (transact(nl, &m, answer, sizeof answer))
        return 1;
    list = find((char *)NLMSG_DATA(head) + GENL_HDRLEN, (int)head->nlmsg_len - NLMSG_HDRLEN - GENL_HDRLEN, NBD_ATTR_DEVICE_LIST);
    item = list ? find(payload(list), payload_length(list), NBD_DEVICE_ITEM) : NULL;
    connected = item ? find(payload(item), payload_length(item), NBD_DEVICE_CONNECTED) : NULL;
    return !connected || *payload(connected);
}

