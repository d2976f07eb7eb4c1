/*
 * Floods a DHCP or TFTP server and asks honestly in between. Run by test/integration/flood.test.ts.
 *
 *   flood dhcp    SERVER SEED COUNT EVERY PID CORPUS MAC ADDRESS
 *   flood tftp    SERVER SEED COUNT EVERY PID CORPUS NAME FILE
 *   flood hostile SERVER SEED COUNT EVERY PID CORPUS - -
 *
 * dhcp and tftp send COUNT mutated packets of CORPUS (one packet a line, in hex). After every EVERY packets an honest client
 * does a whole exchange (DISCOVER to ACK; a whole file, compared with FILE), and the flood goes on when it is served: so
 * the server's queue is emptied, and what is counted was read. hostile sends COUNT whole requests, each from another
 * address and port, acknowledges nothing, and waits for the server after every EVERY of them.
 * Prints one line of JSON, with the resident memory of PID on the way.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PACKET = 9000, MAX_CORPUS = 256, SOURCES = 64, TRIES = 10, WAIT_MS = 1000, STEPS = 10 };

struct packet {
    size_t length;
    uint8_t bytes[MAX_PACKET];
};

static struct packet corpus[MAX_CORPUS];
static int corpus_size;
static uint64_t state;
static struct sockaddr_in server;
static long served, retries;

static void fail(const char *what) {
    perror(what);
    exit(2);
}

/* xorshift64* */
static uint64_t next_random(void) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dULL;
}

static size_t below(size_t limit) {
    return limit == 0 ? 0 : (size_t)(next_random() >> 11) % limit;
}

static double now_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void read_corpus(const char *path) {
    static char line[MAX_PACKET * 2 + 2];
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    while (corpus_size < MAX_CORPUS && fgets(line, sizeof line, file)) {
        struct packet *packet = &corpus[corpus_size];
        unsigned byte;
        for (packet->length = 0; sscanf(line + packet->length * 2, "%2x", &byte) == 1; packet->length++) {
            packet->bytes[packet->length] = (uint8_t)byte;
        }
        if (packet->length > 0) corpus_size++;
    }
    if (corpus_size == 0) fail("empty corpus");
}

static void insert(struct packet *packet, size_t at, const uint8_t *bytes, size_t count) {
    if (packet->length + count > MAX_PACKET) return;
    memmove(packet->bytes + at + count, packet->bytes + at, packet->length - at);
    memmove(packet->bytes + at, bytes, count);
    packet->length += count;
}

/* The length byte of a DHCP option, or of whatever stands where options would. */
static void lie_about_length(struct packet *packet) {
    size_t at = 240, steps = below(12);
    while (steps-- > 0 && at + 1 < packet->length && packet->bytes[at] != 255) {
        at += packet->bytes[at] == 0 ? 1 : 2 + (size_t)packet->bytes[at + 1];
    }
    if (at + 1 < packet->length) packet->bytes[at + 1] = (uint8_t)next_random();
}

static void mutate(struct packet *packet) {
    static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff, '/', '.', '\\', '0'};
    uint8_t slice[600];
    size_t at = below(packet->length), length;
    switch (below(9)) {
    case 0: if (packet->length) packet->bytes[at] ^= (uint8_t)(1u << below(8)); break;
    case 1: packet->length = at; break;
    case 2: if (packet->length) packet->bytes[at] = edges[below(sizeof edges)]; break;
    case 3: lie_about_length(packet); break;
    case 4: /* a part of it once more: doubled options */
        length = below(packet->length - at);
        if (length > sizeof slice) length = sizeof slice;
        memcpy(slice, packet->bytes + at, length);
        insert(packet, below(packet->length), slice, length);
        break;
    case 5:
        length = below(sizeof slice);
        for (size_t i = 0; i < length; i++) slice[i] = (uint8_t)next_random();
        insert(packet, at, slice, length);
        break;
    case 6: { /* the tail of another */
        const struct packet *other = &corpus[below((size_t)corpus_size)];
        if (at < other->length) {
            memcpy(packet->bytes + at, other->bytes + at, other->length - at);
            packet->length = other->length;
        }
        break;
    }
    case 7: /* a part cut out */
        length = below(packet->length - at);
        memmove(packet->bytes + at, packet->bytes + at + length, packet->length - at - length);
        packet->length -= length;
        break;
    default: /* noise, seldom of more than one frame */
        packet->length = below(below(1000) == 0 ? MAX_PACKET : 700);
        for (size_t i = 0; i < packet->length; i++) packet->bytes[i] = (uint8_t)next_random();
    }
}

static int open_socket(uint32_t address, uint16_t port) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1, size = 8 << 20;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = address};
    if (fd < 0) fail("socket");
    /* No SO_REUSEADDR: with it the kernel gives one free port to two sockets. */
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    if (bind(fd, (struct sockaddr *)&own, sizeof own) < 0) fail("bind");
    return fd;
}

static void send_to(int fd, const void *bytes, size_t length, const struct sockaddr_in *to) {
    /* An ICMP error for an earlier datagram comes back here; the datagram itself is sent by the second call. */
    if (sendto(fd, bytes, length, 0, (const struct sockaddr *)to, sizeof *to) < 0) {
        sendto(fd, bytes, length, 0, (const struct sockaddr *)to, sizeof *to);
    }
}

/* 0 when nothing comes in time. */
static size_t receive(int fd, struct packet *into, struct sockaddr_in *from, double deadline) {
    for (;;) {
        double left = deadline - now_seconds();
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        socklen_t size = sizeof *from;
        if (left <= 0 || poll(&ready, 1, (int)(left * 1000) + 1) <= 0) return 0;
        ssize_t got = recvfrom(fd, into->bytes, MAX_PACKET, 0, (struct sockaddr *)from, &size);
        if (got > 0) return into->length = (size_t)got;
    }
}

/* ---- the honest DHCP client ---- */

static size_t dhcp_packet(uint8_t *to, uint8_t type, uint32_t xid, const uint8_t *mac, uint32_t address) {
    size_t at = 240;
    memset(to, 0, 300);
    memcpy(to, "\1\1\6", 3);
    memcpy(to + 4, &xid, 4);
    memcpy(to + 28, mac, 6);
    memcpy(to + 236, "\x63\x82\x53\x63\x35\x01", 6);
    to[242] = type;
    at = 243;
    if (type == 3) {
        memcpy(to + at, "\x32\x04", 2);
        memcpy(to + at + 2, &address, 4);
        memcpy(to + at + 6, "\x36\x04", 2);
        memcpy(to + at + 8, &server.sin_addr.s_addr, 4);
        at += 12;
    }
    to[at] = 255;
    return 300;
}

/* Sends until it is answered with this message type and this address. */
static int dhcp_ask(int fd, uint8_t type, const uint8_t *mac, uint32_t address) {
    uint8_t request[300];
    struct packet answer;
    struct sockaddr_in from;
    uint32_t xid = (uint32_t)next_random();
    size_t length = dhcp_packet(request, type, xid, mac, address);
    for (int attempt = 0; attempt < TRIES; attempt++) {
        double deadline = now_seconds() + WAIT_MS / 1000.0;
        retries += attempt > 0;
        send_to(fd, request, length, &server);
        while (receive(fd, &answer, &from, deadline)) {
            if (answer.length > 243 && answer.bytes[0] == 2 && memcmp(answer.bytes + 4, &xid, 4) == 0) {
                return answer.bytes[242] == type + (type == 1 ? 1 : 2) && memcmp(answer.bytes + 16, &address, 4) == 0;
            }
        }
    }
    return 0;
}

static int honest_dhcp(int fd, const uint8_t *mac, uint32_t address) {
    return dhcp_ask(fd, 1, mac, address) && dhcp_ask(fd, 3, mac, address);
}

/* ---- the honest TFTP client ---- */

static int honest_tftp(const char *name, const uint8_t *want, size_t size) {
    struct packet packet, answer;
    struct sockaddr_in to = server, from;
    size_t got = 0;
    uint16_t block = 0;
    int fd = open_socket(INADDR_ANY, 0), last = 0, attempt = 0;
    packet.length = (size_t)sprintf((char *)packet.bytes, "%c%c%s%coctet", 0, 1, name, 0) + 1;
    while (!last && attempt < TRIES) {
        double deadline = now_seconds() + WAIT_MS / 1000.0;
        send_to(fd, packet.bytes, packet.length, &to);
        size_t length = receive(fd, &answer, &from, deadline);
        uint16_t number = length >= 4 ? (uint16_t)(answer.bytes[2] << 8 | answer.bytes[3]) : 0;
        if (length < 4 || answer.bytes[1] != 3 || number != (uint16_t)(block + 1)) {
            attempt++;
            retries++;
            /* Said only when it goes on like this: the text of an ERROR, or the opcode of something else. */
            int is_error = length > 4 && answer.bytes[1] == 5;
            if (attempt == TRIES) fprintf(stderr, "block %d: %zu bytes %.60s\n", block + 1, length, is_error ? (char *)answer.bytes + 4 : "");
            continue;
        }
        length -= 4;
        if (got + length > size || memcmp(answer.bytes + 4, want + got, length) != 0) break;
        got += length;
        block = number;
        to = from;
        attempt = 0;
        packet.length = 4;
        memcpy(packet.bytes, (uint8_t[]){0, 4, answer.bytes[2], answer.bytes[3]}, 4);
        last = length < 512;
    }
    if (last) send_to(fd, packet.bytes, packet.length, &to);
    close(fd);
    return last && got == size;
}

/* ---- the flood ---- */

static long resident_kib(long pid) {
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%ld/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) sscanf(line, "VmRSS: %ld", &kib);
    if (file) fclose(file);
    return kib;
}

/* What the server answers; half of what comes next goes to the port that the last answer came from. */
static void drain(int fd, struct sockaddr_in *last) {
    struct packet answer;
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    while (recvfrom(fd, answer.bytes, MAX_PACKET, MSG_DONTWAIT, (struct sockaddr *)&from, &size) >= 0) *last = from;
}

static void send_mutated(int fd, struct sockaddr_in *transfer, int to_transfer) {
    struct packet packet = corpus[below((size_t)corpus_size)];
    for (size_t count = 1 + below(4); count > 0; count--) mutate(&packet);
    send_to(fd, packet.bytes, packet.length, to_transfer && transfer->sin_port != 0 && below(2) ? transfer : &server);
}

/* A write is refused at once whatever else goes on, so the answer says that all requests before it were read. */
static int is_answered(int fd) {
    static const uint8_t write_request[] = "\0\2x\0octet";
    struct packet answer;
    struct sockaddr_in from;
    for (int attempt = 0; attempt < TRIES; attempt++) {
        retries += attempt > 0;
        double deadline = now_seconds() + WAIT_MS / 1000.0;
        send_to(fd, write_request, sizeof write_request, &server);
        while (receive(fd, &answer, &from, deadline)) {
            if (answer.length > 4 && answer.bytes[1] == 5) return 1;
        }
    }
    return 0;
}

static int send_hostile(long index, int waits) {
    const struct packet *request = &corpus[below((size_t)corpus_size)];
    /* 180 addresses from .60 on, each of them with as many ports as it takes. */
    uint32_t address = htonl((ntohl(server.sin_addr.s_addr) & 0xffffff00u) + 60 + (uint32_t)(index % 180));
    int fd = open_socket(address, (uint16_t)(2000 + index / 180 % 60000));
    send_to(fd, request->bytes, request->length, &server);
    int ok = !waits || is_answered(fd);
    close(fd);
    return ok;
}

static void give_up(long sent) {
    fprintf(stderr, "after %ld packets a client was not served\n", sent);
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 10) return 2;
    int is_dhcp = strcmp(argv[1], "dhcp") == 0, is_hostile = strcmp(argv[1], "hostile") == 0;
    long count = atol(argv[4]), every = atol(argv[5]), pid = atol(argv[6]), memory[STEPS + 1];
    static uint8_t file[1 << 20];
    static int sources[SOURCES];
    static struct sockaddr_in transfers[SOURCES];
    uint8_t mac[6] = {0};
    size_t size = 0;
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(is_dhcp ? 67 : 69)};
    inet_pton(AF_INET, argv[2], &server.sin_addr);
    state = strtoull(argv[3], NULL, 0) | 1;
    read_corpus(argv[7]);
    if (is_dhcp) {
        sscanf(argv[8], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5);
    } else if (!is_hostile) {
        FILE *wanted = fopen(argv[9], "r");
        if (!wanted) fail(argv[9]);
        size = fread(file, 1, sizeof file, wanted);
        fclose(wanted);
    }
    /* Servers drop what does not come from a DHCP port before they decode it. */
    int source_count = is_dhcp ? 1 : SOURCES;
    for (int i = 0; i < source_count; i++) sources[i] = open_socket(INADDR_ANY, is_dhcp ? 68 : 0);
    double started = now_seconds();
    memory[0] = resident_kib(pid);
    for (long sent = 0; sent < count; sent++) {
        if (is_hostile) {
            if (!send_hostile(sent, sent % every == 0)) give_up(sent);
            served += sent % every == 0;
        } else {
            if (sent % every == 0) {
                int ok = is_dhcp ? honest_dhcp(sources[0], mac, inet_addr(argv[9])) : honest_tftp(argv[8], file, size);
                if (!ok) give_up(sent);
                served++;
            }
            int which = (int)below((size_t)source_count);
            if (!is_dhcp) drain(sources[which], &transfers[which]);
            send_mutated(sources[which], &transfers[which], !is_dhcp);
        }
        if ((sent + 1) % (count / STEPS) == 0) memory[(sent + 1) / (count / STEPS)] = resident_kib(pid);
    }
    printf("{\"packets\":%ld,\"seconds\":%.1f,\"served\":%ld,\"retries\":%ld,\"residentKib\":[", count, now_seconds() - started, served,
           retries);
    for (int step = 0; step <= STEPS; step++) printf("%s%ld", step ? "," : "", memory[step]);
    printf("]}\n");
    return 0;
}
