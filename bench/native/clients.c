/* The clients: opens and authenticates connections, counts the frames that arrive and measures their latency.

   Reads commands on standard input, one a line, and answers each with one line:

     open PORT PATH COUNT STEP WINDOW    opens COUNT connections to 127.0.0.1, WINDOW at a time. Connection i of the
                                         process sends token i * STEP, modulo their number, after the challenge. If the
                                         path begins with /private, the token is in the header of the handshake. No
                                         token follows a first message that contains "subscribed"
                                         -> opened CONNECTIONS MICROSECONDS
     expect FRAMES SECONDS               counts from now on; answers after FRAMES text frames, or after SECONDS
                                         -> got FRAMES BYTES P50 P99 MAX MICROSECONDS
     close                               resets all connections (RST)
                                         -> closed CONNECTIONS

   CONNECTIONS is the number of all connections of the process. BYTES are without frame headers.

   usage: clients TOKENS MOST [tls]. TOKENS is a file with a token per line, MOST the maximum number of connections.
   With tls, all connections use TLS 1.3 with X25519 and AES-128-GCM, whatever the server prefers, so that results of
   different servers are comparable. No session is resumed.

   An event contains the time of its publication: the first "id": of a frame is 10^15 + CLOCK_MONOTONIC in µs. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EPOCH 1000000000000000LL
#define BUFFER (1 << 20)
#define SAMPLES (4 << 20)
#define PER_ADDRESS 12000 /* connections from one client address, which has about 28,000 ports */

enum state { ENCRYPT, HANDSHAKE, CHALLENGE, VERDICT, OPEN };

struct connection {
    int fd;
    SSL *tls; /* NULL without TLS */
    enum state state;
    char *rest; /* the part of an incomplete frame that has arrived */
    size_t rest_size;
    const char *token;
};

static struct connection *connections;
static SSL_CTX *tls;
static int total, opened, to_open, step, window, begun, port;
static char **tokens, path[256];
static int token_count, poll_fd;
static char buffer[BUFFER];
static int64_t frames, bytes, started, expected, deadline;
static int64_t open_started;
static uint32_t samples[SAMPLES];
static int64_t sample_count;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void load_tokens(const char *path) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    if (!file) fail("%s: %s", path, strerror(errno));
    while ((size = getline(&line, &room, file)) > 0) {
        line[size - 1] = 0;
        tokens = realloc(tokens, (token_count + 1) * sizeof *tokens);
        tokens[token_count++] = strdup(line);
    }
    free(line);
    fclose(file);
}

static SSL_CTX *make_tls(void) {
    SSL_CTX *made = SSL_CTX_new(TLS_client_method());
    if (!made || !SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(made, "TLS_AES_128_GCM_SHA256") || !SSL_CTX_set1_groups_list(made, "X25519"))
        fail("OpenSSL does not support TLS 1.3 with X25519 and AES-128-GCM");
    SSL_CTX_set_mode(made, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(made, 1);
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    return made;
}

static void send_all(struct connection *c, const char *data, size_t size) {
    if (c->tls) {
        if (SSL_write(c->tls, data, (int)size) != (int)size) fail("could not write %zu bytes at once", size);
        return;
    }
    if (send(c->fd, data, size, MSG_NOSIGNAL) != (ssize_t)size) fail("could not write %zu bytes at once", size);
}

static void send_frame(struct connection *c, int opcode, const char *payload, size_t size) {
    static char frame[16384];
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t head = 2;
    if (size > sizeof frame - 8) fail("message too long: %zu bytes", size);
    frame[0] = (char)(0x80 | opcode);
    if (size < 126) {
        frame[1] = (char)(0x80 | size);
    } else {
        frame[1] = (char)(0x80 | 126);
        frame[2] = (char)(size >> 8);
        frame[3] = (char)size;
        head = 4;
    }
    memcpy(frame + head, mask, 4);
    for (size_t i = 0; i < size; i++) frame[head + 4 + i] = payload[i] ^ mask[i & 3];
    send_all(c, frame, head + 4 + size);
}

/* Reads the data that has arrived. Returns -1 with EAGAIN if there is none, 0 at the end of the connection. */
static ssize_t receive(struct connection *c, char *to, size_t room) {
    size_t size = 0, got;
    int why;
    if (!c->tls) return recv(c->fd, to, room, MSG_DONTWAIT);
    ERR_clear_error();
    while (SSL_read_ex(c->tls, to + size, room - size, &got))
        if ((size += got) == room) fail("the buffer of %d bytes is full", BUFFER);
    why = SSL_get_error(c->tls, 0);
    if (size) return (ssize_t)size;
    errno = why == SSL_ERROR_WANT_READ ? EAGAIN : 0;
    return errno ? -1 : 0;
}

static void request_upgrade(struct connection *c) {
    char request[8192], authorization[6144] = "";
    if (!strncmp(path, "/private", 8))
        snprintf(authorization, sizeof authorization, "Authorization: Bearer %s\r\n", c->token);
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%s"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
             path, port, authorization);
    c->state = HANDSHAKE;
    send_all(c, request, strlen(request));
}

/* Continues the TLS handshake, and requests the upgrade at its end. */
static void encrypt(struct connection *c) {
    int done = SSL_do_handshake(c->tls);
    if (done == 1) {
        request_upgrade(c);
    } else if (SSL_get_error(c->tls, done) != SSL_ERROR_WANT_READ) {
        ERR_print_errors_fp(stderr);
        fail("TLS handshake failed");
    }
}

static void begin(struct connection *c, int number) {
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    struct linger reset = {1, 0};
    int one = 1;
    c->tls = NULL;
    c->rest = NULL;
    c->rest_size = 0;
    c->token = tokens[number * step % token_count];
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) fail("socket: %s", strerror(errno));
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number / PER_ADDRESS);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) fail("bind: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) fail("connect: %s", strerror(errno));
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
    if (!tls) {
        request_upgrade(c);
        return;
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->state = ENCRYPT;
    c->tls = SSL_new(tls);
    if (!c->tls || !SSL_set_fd(c->tls, c->fd)) fail("cannot create a TLS connection");
    SSL_set_connect_state(c->tls);
    encrypt(c);
}

static void begin_more(void) {
    while (begun < to_open && begun - opened < window) {
        begin(&connections[begun], begun);
        begun++;
    }
}

static void on_text(struct connection *c, const char *text, size_t size, int64_t now) {
    char message[9000];
    const char *id;
    switch (c->state) {
    case CHALLENGE:
        c->state = VERDICT;
        if (memmem(text, size, "subscribed", 10)) break;
        snprintf(message, sizeof message, "{\"jwt\":\"Bearer %s\"}", c->token);
        send_frame(c, 1, message, strlen(message));
        return;
    case VERDICT:
        if (!memmem(text, size, "success", 7)) fail("authentication failed: %.*s", (int)size, text);
        break;
    default:
        frames++;
        bytes += (int64_t)size;
        id = memmem(text, size, "\"id\":", 5);
        if (id && sample_count < SAMPLES) {
            int64_t late = now - (strtoll(id + 5, NULL, 10) - EPOCH);
            samples[sample_count++] = late < 0 ? 0 : late > UINT32_MAX ? UINT32_MAX : (uint32_t)late;
        }
        return;
    }
    c->state = OPEN;
    opened++;
    if (opened == to_open) {
        printf("opened %d %lld\n", opened, (long long)(now - open_started));
        fflush(stdout);
    }
    begin_more();
}

/* Parses the complete frames, and returns their size in bytes. */
static size_t parse(struct connection *c, char *data, size_t size, int64_t now) {
    size_t at = 0;
    if (c->state == HANDSHAKE) {
        char *end = memmem(data, size, "\r\n\r\n", 4);
        if (!end) return 0;
        if (size < 12 || memcmp(data, "HTTP/1.1 101", 12)) fail("upgrade refused: %.*s", (int)size, data);
        c->state = CHALLENGE;
        at = (size_t)(end - data) + 4;
    }
    while (size - at >= 2) {
        const unsigned char *head = (unsigned char *)data + at;
        size_t length = head[1] & 127, skip = 2;
        if (length == 126) {
            if (size - at < 4) break;
            length = (size_t)head[2] << 8 | head[3];
            skip = 4;
        } else if (length == 127) {
            fail("frame longer than 64 KiB");
        }
        if (size - at < skip + length) break;
        switch (head[0] & 15) {
        case 1: on_text(c, data + at + skip, length, now); break;
        case 9: send_frame(c, 10, data + at + skip, length); break;
        case 10: break;
        default: fail("unexpected frame with opcode %d: %.*s", head[0] & 15, (int)length - 2, data + at + skip + 2);
        }
        at += skip + length;
    }
    return at;
}

static void on_readable(struct connection *c) {
    size_t size = c->rest_size, parsed;
    ssize_t got;
    if (size) memcpy(buffer, c->rest, size);
    if (c->state == ENCRYPT) {
        encrypt(c);
        if (c->state == ENCRYPT) return;
    }
    got = receive(c, buffer + size, BUFFER - size);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        /* The bench may end a server before its clients, so the end of an open connection is not an error. */
        epoll_ctl(poll_fd, EPOLL_CTL_DEL, c->fd, NULL);
        if (c->state != OPEN) fail("the server closed the connection before it was open");
        return;
    }
    size += (size_t)got;
    parsed = parse(c, buffer, size, now_us());
    free(c->rest);
    c->rest = NULL;
    c->rest_size = size - parsed;
    if (c->rest_size) {
        c->rest = malloc(c->rest_size);
        memcpy(c->rest, buffer + parsed, c->rest_size);
    }
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void answer_expected(int64_t now) {
    uint32_t p50 = 0, p99 = 0, most = 0;
    if (sample_count) {
        qsort(samples, (size_t)sample_count, sizeof *samples, by_value);
        p50 = samples[sample_count / 2];
        p99 = samples[sample_count * 99 / 100];
        most = samples[sample_count - 1];
    }
    printf("got %lld %lld %u %u %u %lld\n", (long long)frames, (long long)bytes, p50, p99, most,
           (long long)(now - started));
    fflush(stdout);
    expected = 0;
}

static void close_all(void) {
    for (int i = 0; i < begun; i++) {
        SSL_free(connections[i].tls);
        close(connections[i].fd);
        free(connections[i].rest);
    }
    printf("closed %d\n", begun);
    fflush(stdout);
    begun = opened = to_open = 0;
}

static void on_command(const char *line) {
    double seconds;
    long long number;
    int count;
    if (sscanf(line, "open %d %255s %d %d %d", &port, path, &count, &step, &window) == 5) {
        if (to_open + count > total) fail("more than MOST = %d connections", total);
        to_open += count;
        open_started = now_us();
        begin_more();
    } else if (sscanf(line, "expect %lld %lf", &number, &seconds) == 2) {
        frames = bytes = sample_count = 0;
        started = now_us();
        expected = number;
        deadline = started + (int64_t)(seconds * 1e6);
    } else if (!strncmp(line, "close", 5)) {
        close_all();
    } else {
        fail("unknown command: %s", line);
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[512], input = {.events = EPOLLIN, .data.ptr = NULL};
    char line[512];
    if (argc < 3) fail("usage: clients TOKENS MOST [tls]");
    if (argc > 3) tls = make_tls();
    signal(SIGPIPE, SIG_IGN);
    load_tokens(argv[1]);
    total = atoi(argv[2]);
    connections = calloc((size_t)total, sizeof *connections);
    poll_fd = epoll_create1(0);
    setvbuf(stdin, NULL, _IONBF, 0);
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, 0, &input)) fail("standard input must be a pipe");
    for (;;) {
        int ready = epoll_wait(poll_fd, events, 512, expected ? 20 : -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) {
                on_readable(events[i].data.ptr);
            } else if (fgets(line, sizeof line, stdin)) {
                on_command(line);
            } else {
                return 0;
            }
        }
        if (expected) {
            int64_t now = now_us();
            if (frames >= expected || now > deadline) answer_expected(now);
        }
    }
}
