/* The client of the stream benchmarks: many concurrent streams, one thread, epoll.
 *
 *   streams PORT STREAMS GAP_US QUERY [hold]
 *
 * Opens STREAMS connections to 127.0.0.1:PORT, one each GAP_US microseconds, and asks each for one stream:
 * POST /v1/chat/completions?QUERY. Prints one JSON line: how long the first byte took from the sending of the
 * request, and how old each event was when it arrived (its "t": is the CLOCK_MONOTONIC nanosecond of its sending).
 * With `hold` it prints after one event of every stream, and keeps them all open until its standard input ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { KEPT = 32, READ_BYTES = 1 << 16, MAX_EVENTS = 1 << 22 };
typedef struct {
    int fd, kept, events, over;
    long long asked_ns;
    char tail[KEPT]; /* the end of the last read, so that a stamp split over two reads is found */
} stream;

static int event_count, first_count, over_count, failed, begun;
static unsigned *event_ns, *first_ns;
static char request[2048];
static int request_len;

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

static double us_at(unsigned *sorted, int count, double quantile) { return count ? sorted[(int)((count - 1) * quantile)] / 1000.0 : -1; }

static void begin(stream *s, int epfd, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(s->fd, (void *)&to, sizeof to)) perror("connect"), exit(1);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(epfd, EPOLL_CTL_ADD, s->fd, &e);
    s->asked_ns = now_ns();
    if (send(s->fd, request, request_len, 0) != request_len) perror("send"), exit(1);
}

static void finish(stream *s, int clean) {
    close(s->fd);
    s->over = 1;
    over_count++;
    failed += !clean;
}

static void readable(stream *s) {
    static char data[KEPT + READ_BYTES + 1];
    memcpy(data, s->tail, s->kept);
    ssize_t n = recv(s->fd, data + s->kept, READ_BYTES, 0);
    long long now = now_ns();
    if (n <= 0) return finish(s, 0);
    if (!s->events && !s->kept) {
        first_ns[first_count++] = now - s->asked_ns;
        if (strncmp(data, "HTTP/1.1 200", 12)) { data[n] = 0, fprintf(stderr, "%.200s\n", data); return finish(s, 0); }
    }
    int size = s->kept + n, done = size >= 5 && !memcmp(data + size - 5, "0\r\n\r\n", 5), used = 0;
    data[size] = 0;
    for (char *at = data; (at = memmem(at, data + size - at, "\"t\":\"", 5)) && at + 25 <= data + size; at += 24) {
        if (event_count < MAX_EVENTS) event_ns[event_count++] = now - atoll(at + 5);
        begun += !s->events++;
        used = at + 23 - data;
    }
    s->kept = size - used < KEPT ? size - used : KEPT - 1;
    memcpy(s->tail, data + size - s->kept, s->kept);
    if (done) finish(s, 1);
}

int main(int argc, char **argv) {
    if (argc < 5) return fprintf(stderr, "usage: streams PORT STREAMS GAP_US QUERY [hold]\n"), 2;
    int port = atoi(argv[1]), count = atoi(argv[2]), hold = argc > 5, opened = 0, epfd = epoll_create1(0);
    const char *body = "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    request_len = snprintf(request, sizeof request,
                           "POST /v1/chat/completions?%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer sk-benchmark\r\n"
                           "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", argv[4], port, strlen(body), body);
    stream *streams = calloc(count, sizeof *streams);
    event_ns = malloc(MAX_EVENTS * sizeof *event_ns), first_ns = malloc(count * sizeof *first_ns);
    struct epoll_event ready[256];
    long long gap_ns = atoll(argv[3]) * 1000, next = now_ns(), give_up = now_ns() + 120000000000LL;
    while (over_count < count && !(hold && begun + failed >= count) && now_ns() < give_up) {
        if (opened < count && now_ns() >= next) begin(&streams[opened++], epfd, port), next += gap_ns;
        long long wait = opened < count ? next - now_ns() : 1000000000LL;
        struct timespec timeout = {0, wait < 0 ? 0 : wait > 999999999LL ? 999999999LL : wait};
        int n = epoll_pwait2(epfd, ready, 256, &timeout, NULL);
        for (int i = 0; i < n; i++) readable(ready[i].data.ptr);
    }
    qsort(event_ns, event_count, sizeof *event_ns, ascending);
    qsort(first_ns, first_count, sizeof *first_ns, ascending);
    printf("{\"streams\": %d, \"failed\": %d, \"events\": %d, \"event_us_p50\": %.1f, \"event_us_p99\": %.1f, "
           "\"first_byte_us_p50\": %.1f, \"first_byte_us_p99\": %.1f}\n", begun, failed, event_count,
           us_at(event_ns, event_count, .5), us_at(event_ns, event_count, .99),
           us_at(first_ns, first_count, .5), us_at(first_ns, first_count, .99));
    fflush(stdout);
    if (hold) while (read(0, request, sizeof request) > 0) {}
    return failed > 0;
}
