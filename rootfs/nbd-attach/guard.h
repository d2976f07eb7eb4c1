/*
 * Who on this node reaches its disks. The server tells nodes by their addresses, and a node's address is also that of its users
 * and of what it forwards and masquerades for containers and virtual machines, even from ports below 1024. So two routing rules
 * for the server's NBD port: root's own sockets pass, all else is prohibited. Attributes are those of <linux/fib_rules.h>.
 */
#include <linux/rtnetlink.h>
#include <sys/utsname.h>

/* Right after the rule of the local table. */
enum { pass_priority = 1, prohibit_priority = 2 };

/* Earlier kernels know neither ports nor protocols in rules, and overlook them: all traffic to the server would be cut. */
static int has_port_rules(void)
{
    struct utsname name;
    int major, minor;

    errno = EOPNOTSUPP;
    return !uname(&name) && sscanf(name.release, "%d.%d", &major, &minor) == 2 && (major > 4 || (major == 4 && minor >= 17));
}

static void start_rule(struct message *m, const struct sockaddr_in *to, uint8_t action, uint32_t priority)
{
    struct fib_rule_port_range port = { ntohs(to->sin_port), ntohs(to->sin_port) };
    /* systemd-networkd removes rules of others when it starts, but none of the kernel's. */
    uint8_t protocol = RTPROT_KERNEL, tcp = IPPROTO_TCP;

    start_request(m, RTM_NEWRULE, sizeof m->rule);
    m->head.nlmsg_flags |= NLM_F_CREATE | NLM_F_EXCL;
    m->rule.family = AF_INET;
    m->rule.dst_len = 32;
    m->rule.action = action;
    put(m, FRA_DST, &to->sin_addr, sizeof to->sin_addr);
    put_u32(m, FRA_PRIORITY, priority);
    put(m, FRA_IP_PROTO, &tcp, sizeof tcp);
    put(m, FRA_DPORT_RANGE, &port, sizeof port);
    put(m, FRA_PROTOCOL, &protocol, sizeof protocol);
}

/* There already: this node has several disks. */
static int add_rule(int nl, struct message *m)
{
    return transact(nl, m, NULL, 0) && errno != EEXIST ? -1 : 0;
}

/* 0, or -1 with errno: a kernel without policy routing says EOPNOTSUPP. */
static int keep_to_root(const struct sockaddr_in *server)
{
    /* What this machine sends by itself has `lo` as its incoming interface for rules, what it forwards never has. */
    static const char own[] = "lo";
    struct fib_rule_uid_range root = { 0, 0 };
    struct message m;
    int nl, error;

    if (!has_port_rules())
        return -1;
    nl = open_netlink(NETLINK_ROUTE);
    if (nl < 0)
        return -1;
    start_rule(&m, server, FR_ACT_TO_TBL, pass_priority);
    m.rule.table = RT_TABLE_MAIN;
    put(&m, FRA_IIFNAME, own, sizeof own);
    put(&m, FRA_UID_RANGE, &root, sizeof root);
    /* The second without the first would cut this node off. */
    error = add_rule(nl, &m);
    if (!error) {
        start_rule(&m, server, FR_ACT_PROHIBIT, prohibit_priority);
        error = add_rule(nl, &m);
    }
    close(nl);
    return error;
}
