/*
 * TFTP clients for `cardless bench protocols`: many at once, cheap enough that the server is what gets measured.
 *
 * Each client has an address of its own and, for each transfer, a port of its own (RFC 1350 section 4). All of them are
 * played by one thread on one packet socket: with a UDP socket each, this program took more of the machine for a block than
 * the fastest of the servers. Their addresses are not the kernel's: ARP is answered here, and what is sent to their MAC is dropped by the
 * kernel at first sight. Where the content is not asked for, only the head of each packet is copied out of the kernel.
 * Faults (loss, duplication, reordering) are made here by a seeded generator, in both directions, so that every server
 * meets the same weather.
 *
 * Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OP_RRQ = 1, OP_DATA = 3, OP_ACK = 4, OP_ERROR = 5, OP_OACK = 6 };
enum { MAX_CLIENTS = 1024, HEAD = 128, BATCH = 64, MAX_DELAYED = 4096 };
/* Ethernet, IPv4 without options, UDP. */
enum { HEADERS = 14 + 20 + 8, MAX_SENT = 640, FIRST_PORT = 20000, LAST_PORT = 60000 };
/* Of the ring that the kernel writes what comes into: 16 MB at most. */
enum { RING_FRAMES = 4096, RING_BLOCK_FRAMES = 32 };
/* Latencies from 1 us to over a minute, 16 steps to each power of two: 6 % apart. */
enum { STEPS = 16, BUCKETS = 32 * STEPS };

typedef enum { IDLE, ASKING, RECEIVING, DONE, FAILED } phase_t;

typedef struct {
	phase_t phase;
	uint32_t address; /* network byte order, as both ports */
	uint16_t port, server_port;
	unsigned generation;
	unsigned blksize, windowsize;
	uint64_t last; /* number of the last block in order, not reduced to 16 bits */
	unsigned in_window;
	bool gap_told;
	uint64_t offset; /* bytes received of this transfer */
	uint64_t total; /* and of all */
	uint64_t started_ns, ended_ns, heard_ns, ack_ns;
} client_t;

typedef struct {
	uint64_t due_ns;
	int client;
	unsigned generation;
	bool outgoing;
	size_t length;
	uint8_t *bytes;
} delayed_t;

static struct {
	struct in_addr server;
	const char *device;
	uint32_t first_address;
	int clients;
	const char *file;
	unsigned blksize, windowsize;
	double seconds, limit;
	double loss, dup, reorder;
	uint64_t seed;
	uint64_t resend_ns;
	const uint8_t *expected;
	uint64_t expected_bytes;
} opt = { .clients = 1, .blksize = 512, .windowsize = 1, .limit = 60, .seed = 1, .resend_ns = 1000000000ull };

static struct {
	uint64_t completed, failed, resends, duplicates, mismatches, latencies;
	unsigned blksize, windowsize;
	uint64_t buckets[BUCKETS];
	char error[256];
} seen;

static client_t clients[MAX_CLIENTS];
static delayed_t delayed[MAX_DELAYED];
static int delayed_count;
static int active;

/* The clients' own, locally administered; never the interface's. */
static const uint8_t our_mac[ETH_ALEN] = { 0x02, 0x74, 0x66, 0x74, 0x70, 0x01 };
static uint8_t server_mac[ETH_ALEN];
static int packet_fd;
static uint8_t *ring;
static unsigned ring_frame_bytes, ring_at;
static uint8_t sending[BATCH][HEADERS + MAX_SENT];
static unsigned sending_count;
static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "tftp-load: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* xorshift64*: the same seed gives the same faults. */
static double chance(void)
{
	opt.seed ^= opt.seed >> 12;
	opt.seed ^= opt.seed << 25;
	opt.seed ^= opt.seed >> 27;
	return (double)((opt.seed * 2685821657736338717ull) >> 11) / 9007199254740992.0;
}

static bool has_faults(void)
{
	return opt.loss > 0 || opt.dup > 0 || opt.reorder > 0;
}

static void note_latency(uint64_t ns)
{
	uint64_t us16 = ns * STEPS / 1000;
	int power = us16 < STEPS ? 0 : 63 - __builtin_clzll(us16 / STEPS);
	int step = us16 < STEPS ? (int)us16 : (int)((us16 >> power) - STEPS);
	int bucket = us16 < STEPS ? step : (power + 1) * STEPS + step;
	seen.buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
	seen.latencies++;
}

static double percentile_us(double share)
{
	uint64_t wanted = (uint64_t)((double)seen.latencies * share), sum = 0;
	for (int i = 0; i < BUCKETS; i++) {
		sum += seen.buckets[i];
		if (sum > wanted) {
			int power = i / STEPS - 1;
			return power < 0 ? (double)i / STEPS : (double)(STEPS + i % STEPS) / STEPS * (double)(1ull << power);
		}
	}
	return 0;
}

static void flush(void)
{
	for (unsigned from = 0; from < sending_count;) {
		int sent = sendmmsg(packet_fd, messages + from, sending_count - from, 0);
		from += sent > 0 ? (unsigned)sent : 1;
	}
	sending_count = 0;
}

static uint8_t *next_frame(size_t length)
{
	if (sending_count == BATCH)
		flush();
	vectors[sending_count].iov_len = length;
	return sending[sending_count++];
}

static uint32_t sum_of(const void *bytes, size_t length)
{
	const uint8_t *at = bytes;
	uint32_t sum = 0;
	for (size_t i = 0; i + 1 < length; i += 2)
		sum += (uint32_t)(at[i] << 8 | at[i + 1]);
	return length & 1 ? sum + (uint32_t)(at[length - 1] << 8) : sum;
}

static uint16_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void send_now(client_t *c, const uint8_t *bytes, size_t length)
{
	uint8_t *frame = next_frame(HEADERS + length);
	struct ether_header *ether = (struct ether_header *)frame;
	struct iphdr *ip = (struct iphdr *)(frame + 14);
	struct udphdr *udp = (struct udphdr *)(frame + 34);
	uint16_t udp_length = htons((uint16_t)(8 + length));

	memcpy(ether->ether_dhost, server_mac, ETH_ALEN);
	memcpy(ether->ether_shost, our_mac, ETH_ALEN);
	ether->ether_type = htons(ETHERTYPE_IP);
	*ip = (struct iphdr){ .version = 4, .ihl = 5, .tot_len = htons((uint16_t)(28 + length)), .frag_off = htons(IP_DF), .ttl = 64,
			      .protocol = IPPROTO_UDP, .saddr = c->address, .daddr = opt.server.s_addr };
	ip->check = folded(sum_of(ip, sizeof *ip));
	*udp = (struct udphdr){ .source = c->port, .dest = c->phase == ASKING ? htons(69) : c->server_port, .len = udp_length };
	memcpy(frame + HEADERS, bytes, length);
	/* RFC 768: over the addresses, the protocol, the length and all of the datagram. */
	udp->check = folded(sum_of(&ip->saddr, 8) + IPPROTO_UDP + ntohs(udp_length) + sum_of(udp, 8 + length));
}

static void delay(client_t *c, bool outgoing, const uint8_t *bytes, size_t length)
{
	if (delayed_count == MAX_DELAYED)
		return;
	delayed_t *d = &delayed[delayed_count++];
	d->due_ns = now_ns() + 1000000ull + (uint64_t)(chance() * 4e6);
	d->client = (int)(c - clients);
	d->generation = c->generation;
	d->outgoing = outgoing;
	d->length = length;
	d->bytes = malloc(length);
	if (!d->bytes)
		die("malloc");
	memcpy(d->bytes, bytes, length);
}

static void transmit(client_t *c, const uint8_t *bytes, size_t length)
{
	if (has_faults()) {
		if (chance() < opt.loss)
			return;
		if (chance() < opt.dup)
			delay(c, true, bytes, length);
		if (chance() < opt.reorder) {
			delay(c, true, bytes, length);
			return;
		}
	}
	send_now(c, bytes, length);
}

static void ask(client_t *c)
{
	uint8_t packet[600] = { 0, OP_RRQ };
	size_t at = 2;
	at += (size_t)sprintf((char *)packet + at, "%s", opt.file) + 1;
	at += (size_t)sprintf((char *)packet + at, "octet") + 1;
	if (opt.blksize != 512) {
		at += (size_t)sprintf((char *)packet + at, "blksize") + 1;
		at += (size_t)sprintf((char *)packet + at, "%u", opt.blksize) + 1;
	}
	if (opt.windowsize > 1) {
		at += (size_t)sprintf((char *)packet + at, "windowsize") + 1;
		at += (size_t)sprintf((char *)packet + at, "%u", opt.windowsize) + 1;
	}
	transmit(c, packet, at);
}

static void acknowledge(client_t *c, uint64_t at_ns)
{
	uint8_t packet[4] = { 0, OP_ACK, (uint8_t)(c->last >> 8), (uint8_t)c->last };
	c->in_window = 0;
	c->ack_ns = at_ns;
	transmit(c, packet, sizeof packet);
}

static void begin(client_t *c)
{
	unsigned port = ntohs(c->port) + 1u;
	c->port = htons((uint16_t)(port < FIRST_PORT || port > LAST_PORT ? FIRST_PORT : port));
	c->generation++;
	c->phase = ASKING;
	c->blksize = 512;
	c->windowsize = 1;
	c->last = 0;
	c->in_window = 0;
	c->gap_told = false;
	c->offset = 0;
	c->ack_ns = 0;
	c->heard_ns = now_ns();
	active++;
	ask(c);
}

static void end(client_t *c, phase_t phase)
{
	c->phase = phase;
	c->ended_ns = now_ns();
	active--;
}

static void fail(client_t *c, const char *why)
{
	seen.failed++;
	if (seen.error[0] == 0)
		snprintf(seen.error, sizeof seen.error, "%s", why);
	end(c, FAILED);
}

static void complete(client_t *c)
{
	seen.completed++;
	if (opt.expected && c->offset != opt.expected_bytes)
		seen.mismatches++;
	end(c, DONE);
	if (opt.seconds > 0)
		begin(c);
}

static void on_oack(client_t *c, const uint8_t *bytes, size_t length)
{
	size_t at = 2;
	while (at < length) {
		const char *name = (const char *)bytes + at;
		at += strnlen(name, length - at) + 1;
		if (at >= length)
			break;
		const char *value = (const char *)bytes + at;
		at += strnlen(value, length - at) + 1;
		if (strcasecmp(name, "blksize") == 0)
			c->blksize = (unsigned)atoi(value);
		if (strcasecmp(name, "windowsize") == 0)
			c->windowsize = (unsigned)atoi(value);
	}
	c->heard_ns = now_ns();
	acknowledge(c, c->heard_ns);
}

static void on_data(client_t *c, const uint8_t *bytes, size_t length)
{
	uint64_t at_ns = now_ns();
	uint16_t block = (uint16_t)(bytes[2] << 8 | bytes[3]);
	size_t size = length - 4;
	if (block != (uint16_t)(c->last + 1)) {
		if (block == (uint16_t)c->last) {
			/* Said again: our ACK was lost, or came late. PC tools answer it again. */
			seen.duplicates++;
			if (c->windowsize == 1)
				acknowledge(c, at_ns);
		} else if (!c->gap_told && (uint16_t)(block - c->last) < 0x8000) {
			/* RFC 7440 section 4: tell the last block that came in order, once for each gap. */
			c->gap_told = true;
			acknowledge(c, at_ns);
		}
		return;
	}
	if (c->ack_ns != 0) {
		note_latency(at_ns - c->ack_ns);
		c->ack_ns = 0;
	}
	if (opt.expected && (c->offset + size > opt.expected_bytes || memcmp(bytes + 4, opt.expected + c->offset, size) != 0))
		seen.mismatches++;
	c->last++;
	c->gap_told = false;
	c->heard_ns = at_ns;
	c->offset += size;
	c->total += size;
	if (size < c->blksize) {
		acknowledge(c, at_ns);
		complete(c);
	} else if (++c->in_window >= c->windowsize) {
		acknowledge(c, at_ns);
	}
}

static void take(client_t *c, const uint8_t *bytes, size_t length)
{
	if (length < 4 || (c->phase != ASKING && c->phase != RECEIVING))
		return;
	switch (bytes[1]) {
	case OP_OACK:
		if (c->last == 0)
			on_oack(c, bytes, length);
		break;
	case OP_DATA:
		on_data(c, bytes, length);
		break;
	case OP_ERROR: {
		char text[HEAD];
		snprintf(text, sizeof text, "the server said: %.*s", (int)(length - 4 < 80 ? length - 4 : 80), (const char *)bytes + 4);
		fail(c, text);
		break;
	}
	default:
		break;
	}
	if (c->phase == RECEIVING || c->phase == ASKING) {
		seen.blksize = c->blksize;
		seen.windowsize = c->windowsize;
	}
}

static void deliver(client_t *c, const uint8_t *bytes, size_t length)
{
	if (has_faults()) {
		if (chance() < opt.loss)
			return;
		if (chance() < opt.dup)
			delay(c, false, bytes, length);
		if (chance() < opt.reorder) {
			delay(c, false, bytes, length);
			return;
		}
	}
	take(c, bytes, length);
}

/* RFC 826: who has one of our addresses? The first answer that we get tells the server's MAC. */
static void on_arp(const struct ether_arp *arp)
{
	uint32_t asked, sender;
	memcpy(&asked, arp->arp_tpa, 4);
	memcpy(&sender, arp->arp_spa, 4);
	if (arp->arp_op == htons(ARPOP_REPLY) && sender == opt.server.s_addr) {
		memcpy(server_mac, arp->arp_sha, ETH_ALEN);
		return;
	}
	if (arp->arp_op != htons(ARPOP_REQUEST) || ntohl(asked) - opt.first_address >= (uint32_t)opt.clients)
		return;
	uint8_t *frame = next_frame(14 + sizeof *arp);
	struct ether_header *ether = (struct ether_header *)frame;
	struct ether_arp *reply = (struct ether_arp *)(frame + 14);
	memcpy(ether->ether_dhost, arp->arp_sha, ETH_ALEN);
	memcpy(ether->ether_shost, our_mac, ETH_ALEN);
	ether->ether_type = htons(ETHERTYPE_ARP);
	*reply = *arp;
	reply->arp_op = htons(ARPOP_REPLY);
	memcpy(reply->arp_sha, our_mac, ETH_ALEN);
	memcpy(reply->arp_spa, arp->arp_tpa, 4);
	memcpy(reply->arp_tha, arp->arp_sha, ETH_ALEN);
	memcpy(reply->arp_tpa, arp->arp_spa, 4);
}

static void ask_for_server(void)
{
	uint8_t *frame = next_frame(14 + sizeof(struct ether_arp));
	struct ether_header *ether = (struct ether_header *)frame;
	struct ether_arp *arp = (struct ether_arp *)(frame + 14);
	uint32_t sender = htonl(opt.first_address);
	memset(ether->ether_dhost, 0xff, ETH_ALEN);
	memcpy(ether->ether_shost, our_mac, ETH_ALEN);
	ether->ether_type = htons(ETHERTYPE_ARP);
	memset(arp, 0, sizeof *arp);
	arp->arp_hrd = htons(ARPHRD_ETHER);
	arp->arp_pro = htons(ETHERTYPE_IP);
	arp->arp_hln = ETH_ALEN;
	arp->arp_pln = 4;
	arp->arp_op = htons(ARPOP_REQUEST);
	memcpy(arp->arp_sha, our_mac, ETH_ALEN);
	memcpy(arp->arp_spa, &sender, 4);
	memcpy(arp->arp_tpa, &opt.server, 4);
	flush();
}

static void on_frame(const uint8_t *frame, unsigned captured)
{
	const struct ether_header *ether = (const struct ether_header *)frame;
	const struct iphdr *ip = (const struct iphdr *)(frame + 14);
	const struct udphdr *udp = (const struct udphdr *)(frame + 34);
	if (ether->ether_type == htons(ETHERTYPE_ARP) && captured >= 14 + sizeof(struct ether_arp)) {
		on_arp((const struct ether_arp *)(frame + 14));
		return;
	}
	if (captured < HEADERS || ether->ether_type != htons(ETHERTYPE_IP) || ip->ihl != 5 || ip->saddr != opt.server.s_addr)
		return;
	uint32_t index = ntohl(ip->daddr) - opt.first_address;
	if (index >= (uint32_t)opt.clients)
		return;
	client_t *c = &clients[index];
	if (udp->dest != c->port)
		return;
	/* The first answer comes from the port that is the server's half of the transfer's name. */
	if (c->phase == ASKING) {
		c->server_port = udp->source;
		c->phase = RECEIVING;
	} else if (c->phase != RECEIVING || udp->source != c->server_port) {
		return;
	}
	deliver(c, frame + HEADERS, ntohs(udp->len) - 8u);
}

static bool take_all(void)
{
	bool any = false;
	for (;;) {
		struct tpacket2_hdr *head = (struct tpacket2_hdr *)(ring + (size_t)ring_at * ring_frame_bytes);
		if (!(__atomic_load_n(&head->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
			return any;
		any = true;
		on_frame((uint8_t *)head + head->tp_mac, head->tp_snaplen);
		__atomic_store_n(&head->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		ring_at = (ring_at + 1) % RING_FRAMES;
	}
}

static void wait_for_packets(int ms)
{
	struct pollfd set = { .fd = packet_fd, .events = POLLIN };
	poll(&set, 1, ms);
}

/* ARP, and UDP to our MAC; of what is long no more than is looked at. */
static void open_packets(void)
{
	uint32_t enough = opt.expected || has_faults() ? 2048 : HEAD;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_ARP, 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IP, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02746674, 0, 3),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 23),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, enough),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };
	int version = TPACKET_V2, one = 1;
	ring_frame_bytes = enough == HEAD ? 256 : 4096;
	struct tpacket_req request = { .tp_frame_size = ring_frame_bytes, .tp_frame_nr = RING_FRAMES,
				       .tp_block_size = ring_frame_bytes * RING_BLOCK_FRAMES, .tp_block_nr = RING_FRAMES / RING_BLOCK_FRAMES };
	struct sockaddr_ll here = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(opt.device) };
	packet_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (packet_fd < 0 || here.sll_ifindex == 0)
		die(opt.device);
	setsockopt(packet_fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
	setsockopt(packet_fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
	if (setsockopt(packet_fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0 ||
	    setsockopt(packet_fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) < 0 ||
	    setsockopt(packet_fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) < 0)
		die("packet ring");
	ring = mmap(NULL, (size_t)ring_frame_bytes * RING_FRAMES, PROT_READ | PROT_WRITE, MAP_SHARED, packet_fd, 0);
	if (ring == MAP_FAILED || bind(packet_fd, (struct sockaddr *)&here, sizeof here) < 0)
		die("packet ring");
	for (unsigned i = 0; i < BATCH; i++) {
		vectors[i].iov_base = sending[i];
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
	}
}

static void find_server(void)
{
	static const uint8_t unknown[ETH_ALEN];
	for (int tries = 0; memcmp(server_mac, unknown, ETH_ALEN) == 0; tries++) {
		if (tries == 50) {
			fprintf(stderr, "tftp-load: nobody has the address of the server\n");
			exit(1);
		}
		ask_for_server();
		wait_for_packets(20);
		take_all();
	}
}

static void run_delayed(uint64_t at_ns)
{
	for (int i = 0; i < delayed_count;) {
		delayed_t d = delayed[i];
		if (d.due_ns > at_ns) {
			i++;
			continue;
		}
		delayed[i] = delayed[--delayed_count];
		client_t *c = &clients[d.client];
		if (c->generation == d.generation && (c->phase == ASKING || c->phase == RECEIVING)) {
			if (d.outgoing)
				send_now(c, d.bytes, d.length);
			else
				take(c, d.bytes, d.length);
		}
		free(d.bytes);
	}
}

static void run_timers(uint64_t at_ns)
{
	for (int i = 0; i < opt.clients; i++) {
		client_t *c = &clients[i];
		if ((c->phase != ASKING && c->phase != RECEIVING) || at_ns - c->heard_ns < opt.resend_ns)
			continue;
		seen.resends++;
		c->heard_ns = at_ns;
		if (c->phase == ASKING)
			ask(c);
		else
			acknowledge(c, at_ns);
	}
}

/* An ERROR ends the transfer at the server too, so that nothing of it disturbs what is measured next. */
static void stop_all(void)
{
	static const uint8_t packet[] = { 0, OP_ERROR, 0, 0, 'd', 'o', 'n', 'e', 0 };
	for (int i = 0; i < opt.clients; i++) {
		client_t *c = &clients[i];
		if (c->phase == RECEIVING)
			send_now(c, packet, sizeof packet);
		if (c->phase == RECEIVING || c->phase == ASKING)
			end(c, IDLE);
	}
	flush();
}

static void map_expected(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat facts;
	if (fd < 0 || fstat(fd, &facts) < 0)
		die(path);
	opt.expected_bytes = (uint64_t)facts.st_size;
	opt.expected = mmap(NULL, opt.expected_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (opt.expected == MAP_FAILED)
		die("mmap");
	close(fd);
}

static void read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "server", 1, 0, 's' }, { "device", 1, 0, 'd' }, { "first", 1, 0, 'f' }, { "clients", 1, 0, 'c' }, { "file", 1, 0, 'n' },
		{ "blksize", 1, 0, 'b' }, { "windowsize", 1, 0, 'w' }, { "seconds", 1, 0, 't' }, { "limit", 1, 0, 'l' },
		{ "loss", 1, 0, 'L' }, { "dup", 1, 0, 'D' }, { "reorder", 1, 0, 'R' }, { "seed", 1, 0, 'S' },
		{ "resend-ms", 1, 0, 'r' }, { "expect", 1, 0, 'e' }, { 0, 0, 0, 0 },
	};
	struct in_addr first = { 0 };
	for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		switch (c) {
		case 's': if (inet_pton(AF_INET, optarg, &opt.server) != 1) exit(2); break;
		case 'd': opt.device = optarg; break;
		case 'f': if (inet_pton(AF_INET, optarg, &first) != 1) exit(2); break;
		case 'c': opt.clients = atoi(optarg); break;
		case 'n': opt.file = optarg; break;
		case 'b': opt.blksize = (unsigned)atoi(optarg); break;
		case 'w': opt.windowsize = (unsigned)atoi(optarg); break;
		case 't': opt.seconds = atof(optarg); break;
		case 'l': opt.limit = atof(optarg); break;
		case 'L': opt.loss = atof(optarg); break;
		case 'D': opt.dup = atof(optarg); break;
		case 'R': opt.reorder = atof(optarg); break;
		case 'S': opt.seed = strtoull(optarg, NULL, 10) | 1; break;
		case 'r': opt.resend_ns = strtoull(optarg, NULL, 10) * 1000000ull; break;
		case 'e': map_expected(optarg); break;
		default: exit(2);
		}
	}
	opt.first_address = ntohl(first.s_addr);
	if (!opt.file || !opt.device || strlen(opt.file) > 400 || opt.clients < 1 || opt.clients > MAX_CLIENTS || opt.blksize > 2000) {
		fprintf(stderr, "tftp-load: --server, --device, --first, --file, --clients 1-%d and --blksize up to 2000 are needed\n", MAX_CLIENTS);
		exit(2);
	}
}

static void report(double seconds)
{
	uint64_t bytes = 0;
	double fastest = 0, slowest = 0;
	for (int i = 0; i < opt.clients; i++) {
		client_t *c = &clients[i];
		double took = (double)(c->ended_ns - c->started_ns) / 1e9;
		bytes += c->total;
		if (c->phase == DONE && (fastest == 0 || took < fastest))
			fastest = took;
		if (c->phase == DONE && took > slowest)
			slowest = took;
	}
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	for (char *p = seen.error; *p; p++)
		if (*p == '"' || *p == '\\' || (unsigned char)*p < 32 || (unsigned char)*p > 126)
			*p = '?';
	printf("{\"seconds\":%.4f,\"bytes\":%" PRIu64 ",\"completed\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"unfinished\":%d,"
	       "\"fastestSeconds\":%.4f,\"slowestSeconds\":%.4f,\"blockP50Us\":%.1f,\"blockP99Us\":%.1f,\"resends\":%" PRIu64 ","
	       "\"duplicates\":%" PRIu64 ",\"mismatches\":%" PRIu64 ",\"blksize\":%u,\"windowsize\":%u,\"clientCpuSeconds\":%.3f,"
	       "\"error\":\"%s\"}\n",
	       seconds, bytes, seen.completed, seen.failed, active, fastest, slowest, percentile_us(0.5), percentile_us(0.99),
	       seen.resends, seen.duplicates, seen.mismatches, seen.blksize, seen.windowsize, cpu, seen.error);
}

int main(int argc, char **argv)
{
	read_options(argc, argv);
	open_packets();
	find_server();
	for (int i = 0; i < opt.clients; i++) {
		clients[i].address = htonl(opt.first_address + (uint32_t)i);
		/* Not where the run before began: a late packet of it must not be taken for one of this run. */
		clients[i].port = htons((uint16_t)(FIRST_PORT + now_ns() / 1000 % (LAST_PORT - FIRST_PORT)));
	}
	uint64_t started = now_ns(), timers = started;
	uint64_t stop = started + (uint64_t)((opt.seconds > 0 ? opt.seconds : opt.limit) * 1e9);
	for (int i = 0; i < opt.clients; i++) {
		clients[i].started_ns = started;
		begin(&clients[i]);
	}
	flush();
	uint64_t at_ns = started;
	while (active > 0 && at_ns < stop) {
		if (!take_all())
			wait_for_packets(delayed_count > 0 ? 1 : 10);
		flush();
		at_ns = now_ns();
		if (delayed_count > 0)
			run_delayed(at_ns);
		if (at_ns - timers > 10000000ull) {
			timers = at_ns;
			run_timers(at_ns);
		}
	}
	double seconds = (double)(now_ns() - started) / 1e9;
	report(seconds);
	stop_all();
	return 0;
}
