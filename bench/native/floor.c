/* The floor: the cost of a delivery in the kernel, and with TLS in OpenSSL. It only calls send() or SSL_write()
   with the bytes that a gateway would send, once per connection and event.

   usage: floor PORT FRAME [CERT KEY]. Answers clients.c as a gateway does: with 101 and a challenge, then with success,
   whatever the token is. Reads commands on standard input:

     send EVENTS RATE   sends the frame in the file FRAME to each connection EVENTS times, RATE times per second;
                        without pauses if RATE is 0
                        -> sent EVENTS

   The digits after "id": in the frame are replaced by 10^15 + CLOCK_MONOTONIC in µs. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 65536

static const char UPGRADE[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
                              "\x81\x10{\"challenge\":\"\"}";
static const char VERDICT[] = "\x81\x0e{\"success\":{}}";

static int sockets[MAX_CONNECTIONS], requests[MAX_CONNECTIONS], count;
static SSL *encrypted[MAX_CONNECTIONS];
static SSL_CTX *tls; /* NULL without TLS */
static char frame[65536];
static size_t frame_size;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void sleep_until(int64_t ns) {
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static SSL_CTX *make_tls(const char *cert, const char *key) {
    SSL_CTX *made = SSL_CTX_new(TLS_server_method());
    if (!made || SSL_CTX_use_certificate_chain_file(made, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(made, key, SSL_FILETYPE_PEM) != 1)
        fail("cannot load the certificate and its key");
    SSL_CTX_set_mode(made, SSL_MODE_RELEASE_BUFFERS);
    return made;
}

static void send_to(int number, const char *data, size_t size) {
    ssize_t sent =
        tls ? SSL_write(encrypted[number], data, (int)size) : send(sockets[number], data, size, MSG_NOSIGNAL);
    if (sent != (ssize_t)size) fail("send");
}

static void send_events(int events, double rate) {
    int64_t start = now_ns();
    char digits[32], *id = memmem(frame, frame_size, "\"id\":", 5);
    for (int event = 0; event < events; event++) {
        if (rate > 0) sleep_until(start + (int64_t)(event * 1e9 / rate));
        snprintf(digits, sizeof digits, "%lld", 1000000000000000LL + (long long)(now_ns() / 1000));
        if (id) memcpy(id + 5, digits, 16);
        for (int i = 0; i < count; i++) send_to(i, frame, frame_size);
    }
    printf("sent %d\n", events);
    fflush(stdout);
}

static void accept_one(int listener, int poll_fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)count};
    int one = 1;
    if (count == MAX_CONNECTIONS) fail("too many connections");
    sockets[count] = accept(listener, NULL, NULL);
    if (sockets[count] < 0) fail("accept");
    setsockopt(sockets[count], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (tls) {
        encrypted[count] = SSL_new(tls);
        if (!SSL_set_fd(encrypted[count], sockets[count]) || SSL_accept(encrypted[count]) != 1) fail("SSL_accept");
    }
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, sockets[count++], &event);
}

static void answer(int number, int poll_fd) {
    static char data[65536];
    const char *reply = requests[number]++ ? VERDICT : UPGRADE;
    size_t size = reply == VERDICT ? sizeof VERDICT - 1 : sizeof UPGRADE - 1;
    if ((tls ? SSL_read(encrypted[number], data, sizeof data) : recv(sockets[number], data, sizeof data, 0)) <= 0) {
        epoll_ctl(poll_fd, EPOLL_CTL_DEL, sockets[number], NULL);
        return;
    }
    if (requests[number] <= 2) send_to(number, reply, size);
}

int main(int argc, char **argv) {
    struct sockaddr_in here = {.sin_family = AF_INET};
    struct epoll_event events[512], event = {.events = EPOLLIN};
    int listener = socket(AF_INET, SOCK_STREAM, 0), poll_fd = epoll_create1(0), one = 1, number;
    double rate;
    char line[128];
    FILE *file;
    if (argc == 5) tls = make_tls(argv[3], argv[4]);
    if ((argc != 3 && argc != 5) || !(file = fopen(argv[2], "r"))) fail("usage: floor PORT FRAME [CERT KEY]");
    frame_size = fread(frame, 1, sizeof frame, file);
    fclose(file);
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    here.sin_port = htons((uint16_t)atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 4096)) fail("listen");
    setvbuf(stdin, NULL, _IONBF, 0);
    signal(SIGPIPE, SIG_IGN);
    event.data.u32 = MAX_CONNECTIONS;
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event);
    event.data.u32 = MAX_CONNECTIONS + 1;
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, 0, &event);
    for (;;) {
        int ready = epoll_wait(poll_fd, events, 512, -1);
        for (int i = 0; i < ready; i++) {
            uint32_t which = events[i].data.u32;
            if (which < MAX_CONNECTIONS) {
                answer((int)which, poll_fd);
            } else if (which == MAX_CONNECTIONS) {
                accept_one(listener, poll_fd);
            } else {
                if (!fgets(line, sizeof line, stdin)) return 0;
                if (sscanf(line, "send %d %lf", &number, &rate) == 2) send_events(number, rate);
            }
        }
    }
}
