/*
 * DHCP clients for `cardless bench protocols`, behind one relay agent (giaddr), as perfdhcp plays them: DISCOVER, OFFER,
 * REQUEST, ACK with a hardware address for each client.
 *
 *   --rate R --seconds S   open loop: exchanges begin at this rate whatever the server does; one that is not through
 *                          within a second is lost
 *   --once                 closed loop: each client gets one lease, with --window exchanges at a time and resends
 *   --pxe                  the clients say that they are PCs which boot from the network (x64 UEFI)
 *
 * Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5, NAK = 6 };
enum { SLOTS = 1 << 18, BATCH = 64, PACKET = 600, MAX_CLIENTS = 65536 };
enum { STEPS = 16, BUCKETS = 32 * STEPS };
static const uint64_t lost_after_ns = 1000000000ull;

typedef struct {
	uint32_t xid;
	int client;
	enum { FREE, OFFERING, CONFIRMING } state;
	uint64_t began_ns, sent_ns;
	uint8_t address[4], server[4];
} exchange_t;

static struct {
	struct sockaddr_in local, server;
	int clients;
	uint8_t mac[6];
	double rate, seconds, limit;
	bool once, pxe;
	int window;
} opt = { .clients = 1, .seconds = 1, .limit = 60, .window = 64 };

static struct {
	uint64_t begun, offered, completed, late, refused, resends;
	uint64_t latencies, buckets[BUCKETS];
} seen;

static exchange_t slots[SLOTS];
static uint32_t next_xid;
static uint64_t last_ack_ns;
static int fd;

static struct {
	struct mmsghdr headers[BATCH];
	struct iovec vectors[BATCH];
	uint8_t bytes[BATCH][PACKET];
	int count;
} out;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "dhcp-load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void note_latency(uint64_t ns)
{
	uint64_t us16 = ns * STEPS / 1000;
	int power = us16 < STEPS ? 0 : 63 - __builtin_clzll(us16 / STEPS);
	int bucket = us16 < STEPS ? (int)us16 : (power + 1) * STEPS + (int)((us16 >> power) - STEPS);
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
	for (int done = 0; done < out.count;) {
		int sent = sendmmsg(fd, out.headers + done, (unsigned)(out.count - done), 0);
		if (sent < 0 && errno != EINTR && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED)
			die("sendmmsg");
		done += sent > 0 ? sent : 0;
	}
	out.count = 0;
}

static size_t put(uint8_t *packet, size_t at, uint8_t code, const void *data, size_t length)
{
	packet[at++] = code;
	packet[at++] = (uint8_t)length;
	memcpy(packet + at, data, length);
	return at + length;
}

static void say(const exchange_t *e, uint8_t type)
{
	static const uint8_t cookie[] = { 0x63, 0x82, 0x53, 0x63 };
	static const uint8_t wanted[] = { 1, 28, 2, 3, 15, 6, 12, 66, 67, 43, 60 };
	static const uint8_t arch[] = { 0, 7 }, undi[] = { 1, 3, 16 };
	if (out.count == BATCH)
		flush();
	uint8_t *packet = out.bytes[out.count];
	memset(packet, 0, PACKET);
	packet[0] = 1;
	packet[1] = 1;
	packet[2] = 6;
	packet[3] = 1;
	uint32_t xid = htonl(e->xid);
	memcpy(packet + 4, &xid, 4);
	memcpy(packet + 24, &opt.local.sin_addr, 4);
	memcpy(packet + 28, opt.mac, 6);
	uint32_t tail = ((uint32_t)opt.mac[3] << 16 | (uint32_t)opt.mac[4] << 8 | opt.mac[5]) + (uint32_t)e->client;
	packet[31] = (uint8_t)(tail >> 16);
	packet[32] = (uint8_t)(tail >> 8);
	packet[33] = (uint8_t)tail;
	memcpy(packet + 236, cookie, sizeof cookie);
	size_t at = put(packet, 240, 53, &type, 1);
	at = put(packet, at, 55, wanted, sizeof wanted);
	if (type == REQUEST) {
		at = put(packet, at, 54, e->server, 4);
		at = put(packet, at, 50, e->address, 4);
	}
	if (opt.pxe) {
		at = put(packet, at, 60, "PXEClient:Arch:00007:UNDI:003016", 32);
		at = put(packet, at, 93, arch, sizeof arch);
		at = put(packet, at, 94, undi, sizeof undi);
	}
	packet[at++] = 255;
	out.vectors[out.count] = (struct iovec){ packet, at < 300 ? 300 : at };
	out.headers[out.count].msg_hdr = (struct msghdr){
		.msg_name = &opt.server, .msg_namelen = sizeof opt.server, .msg_iov = &out.vectors[out.count], .msg_iovlen = 1
	};
	out.count++;
}

static void begin(int client, uint64_t at_ns)
{
	uint32_t xid = next_xid++;
	exchange_t *e = &slots[xid % SLOTS];
	*e = (exchange_t){ .xid = xid, .client = client, .state = OFFERING, .began_ns = at_ns, .sent_ns = at_ns };
	seen.begun++;
	say(e, DISCOVER);
}

static const uint8_t *find(const uint8_t *packet, size_t length, uint8_t code, size_t size)
{
	for (size_t at = 240; at + 1 < length && packet[at] != 255;) {
		if (packet[at] == 0) {
			at++;
			continue;
		}
		size_t has = packet[at + 1];
		if (packet[at] == code && has >= size && at + 2 + has <= length)
			return packet + at + 2;
		at += 2 + has;
	}
	return NULL;
}

/* True when this ended an exchange. */
static bool hear(const uint8_t *packet, size_t length, uint64_t at_ns)
{
	if (length < 244 || packet[0] != 2)
		return false;
	uint32_t xid;
	memcpy(&xid, packet + 4, 4);
	xid = ntohl(xid);
	exchange_t *e = &slots[xid % SLOTS];
	const uint8_t *type = find(packet, length, 53, 1);
	if (e->state == FREE || e->xid != xid || !type)
		return false;
	if (*type == OFFER && e->state == OFFERING) {
		const uint8_t *server = find(packet, length, 54, 4);
		if (!server)
			return false;
		note_latency(at_ns - e->sent_ns);
		seen.offered++;
		memcpy(e->server, server, 4);
		memcpy(e->address, packet + 16, 4);
		e->state = CONFIRMING;
		e->sent_ns = at_ns;
		say(e, REQUEST);
		return false;
	}
	if (*type == NAK && e->state == CONFIRMING) {
		seen.refused++;
		e->state = FREE;
		return true;
	}
	if (*type != ACK || e->state != CONFIRMING)
		return false;
	if (!opt.once && at_ns - e->began_ns > lost_after_ns)
		seen.late++;
	else
		seen.completed++;
	e->state = FREE;
	last_ack_ns = at_ns;
	return true;
}

/* Everything that has come; gives how many exchanges ended. */
static int drain(void)
{
	static uint8_t bytes[BATCH][1500];
	int ended = 0;
	for (;;) {
		struct mmsghdr headers[BATCH];
		struct iovec vectors[BATCH];
		for (int i = 0; i < BATCH; i++) {
			vectors[i] = (struct iovec){ bytes[i], sizeof bytes[i] };
			headers[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &vectors[i], .msg_iovlen = 1 } };
		}
		int count = recvmmsg(fd, headers, BATCH, MSG_DONTWAIT, NULL);
		uint64_t at_ns = now_ns();
		for (int i = 0; i < count; i++)
			ended += hear(bytes[i], headers[i].msg_len, at_ns);
		flush();
		if (count < BATCH)
			return ended;
	}
}

static void wait_until(uint64_t at_ns)
{
	uint64_t now = now_ns();
	uint64_t left = at_ns > now ? at_ns - now : 0;
	struct timespec timeout = { (time_t)(left / 1000000000ull), (long)(left % 1000000000ull) };
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	ppoll(&readable, 1, &timeout, NULL);
}

/* Woken for every packet, a client of a fast server would spend its time in system calls, for one packet each. */
static const uint64_t tick_ns = 100000ull;

static void wait_ticks(uint64_t at_ns)
{
	uint64_t next = now_ns() + tick_ns;
	next = next > at_ns ? next : at_ns;
	struct timespec until = { (time_t)(next / 1000000000ull), (long)(next % 1000000000ull) };
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* Exchanges begin by the clock. After the last one there is a second in which answers still count. */
static double run_open(void)
{
	uint64_t start = now_ns(), all = (uint64_t)(opt.rate * opt.seconds), at_ns = start;
	double gap_ns = 1e9 / opt.rate;
	while (seen.begun < all) {
		uint64_t due = (uint64_t)((double)(at_ns - start) / gap_ns) + 1;
		for (int burst = 0; seen.begun < due && seen.begun < all && burst < BATCH; burst++)
			begin((int)(seen.begun % (uint64_t)opt.clients), now_ns());
		flush();
		drain();
		at_ns = now_ns();
		uint64_t next = start + (uint64_t)((double)seen.begun * gap_ns);
		if (gap_ns < (double)tick_ns)
			wait_ticks(next < at_ns + tick_ns ? next : at_ns + tick_ns);
		else if (next > at_ns)
			wait_until(next);
		at_ns = now_ns();
	}
	for (uint64_t stop = at_ns + lost_after_ns; at_ns < stop && seen.completed + seen.late + seen.refused < seen.begun; at_ns = now_ns()) {
		wait_until(stop);
		drain();
	}
	/* Until the last of them was through, so that what waited in a queue is not counted as speed. */
	return (double)((last_ack_ns > start ? last_ack_ns : at_ns) - start) / 1e9;
}

static double run_once(void)
{
	uint64_t start = now_ns(), stop = start + (uint64_t)(opt.limit * 1e9), checked = start, at_ns = start;
	uint32_t first = next_xid;
	int running = 0, next = 0;
	while (seen.completed + seen.refused < (uint64_t)opt.clients && at_ns < stop) {
		for (; next < opt.clients && running < opt.window; running++)
			begin(next++, at_ns);
		flush();
		wait_until(at_ns + 10000000ull);
		running -= drain();
		at_ns = now_ns();
		if (at_ns - checked < 100000000ull)
			continue;
		checked = at_ns;
		for (uint32_t xid = first; xid != next_xid; xid++) {
			exchange_t *e = &slots[xid % SLOTS];
			if (e->state != FREE && at_ns - e->sent_ns > lost_after_ns) {
				seen.resends++;
				e->sent_ns = at_ns;
				say(e, e->state == OFFERING ? DISCOVER : REQUEST);
			}
		}
	}
	return (double)(at_ns - start) / 1e9;
}

static void read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "server", 1, 0, 's' }, { "address", 1, 0, 'a' }, { "clients", 1, 0, 'c' }, { "mac", 1, 0, 'm' },
		{ "rate", 1, 0, 'r' }, { "seconds", 1, 0, 't' }, { "limit", 1, 0, 'l' }, { "once", 0, 0, 'o' },
		{ "pxe", 0, 0, 'p' }, { "window", 1, 0, 'w' }, { 0, 0, 0, 0 },
	};
	opt.local.sin_family = opt.server.sin_family = AF_INET;
	opt.local.sin_port = opt.server.sin_port = htons(67);
	for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		switch (c) {
		case 's': if (inet_pton(AF_INET, optarg, &opt.server.sin_addr) != 1) exit(2); break;
		case 'a': if (inet_pton(AF_INET, optarg, &opt.local.sin_addr) != 1) exit(2); break;
		case 'c': opt.clients = atoi(optarg); break;
		case 'm':
			if (sscanf(optarg, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &opt.mac[0], &opt.mac[1], &opt.mac[2], &opt.mac[3], &opt.mac[4],
				   &opt.mac[5]) != 6)
				exit(2);
			break;
		case 'r': opt.rate = atof(optarg); break;
		case 't': opt.seconds = atof(optarg); break;
		case 'l': opt.limit = atof(optarg); break;
		case 'o': opt.once = true; break;
		case 'p': opt.pxe = true; break;
		case 'w': opt.window = atoi(optarg); break;
		default: exit(2);
		}
	}
	if (opt.clients < 1 || opt.clients > MAX_CLIENTS || (!opt.once && opt.rate <= 0) || opt.window < 1) {
		fprintf(stderr, "dhcp-load: --server, --address, --mac, --clients 1-%d and --rate or --once are needed\n", MAX_CLIENTS);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	read_options(argc, argv);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int bytes = 16 << 20, one = 1;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
	if (bind(fd, (struct sockaddr *)&opt.local, sizeof opt.local) < 0)
		die("bind");
	next_xid = (uint32_t)now_ns();
	double seconds = opt.once ? run_once() : run_open();
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	printf("{\"seconds\":%.4f,\"begun\":%" PRIu64 ",\"offered\":%" PRIu64 ",\"completed\":%" PRIu64 ",\"late\":%" PRIu64 ","
	       "\"refused\":%" PRIu64 ",\"resends\":%" PRIu64 ",\"offerP50Us\":%.1f,\"offerP99Us\":%.1f,\"clientCpuSeconds\":%.3f}\n",
	       seconds, seen.begun, seen.offered, seen.completed, seen.late, seen.refused, seen.resends, percentile_us(0.5),
	       percentile_us(0.99), cpu);
	return 0;
}
