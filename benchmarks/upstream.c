/* The upstream of the benchmarks: one thread, epoll, as little work as possible, so that it is never what is measured.
 *
 *   upstream PORT [CERT.pem KEY.pem]        listens on 127.0.0.1; with a certificate it speaks TLS
 *
 * The query string says what to answer, whatever the path (a proxy under test passes both on untouched):
 *   (none)          a chat completion of 800 bytes with Content-Length
 *   ?flat=K         100 events of a chat and `[DONE]`, each an HTTP chunk, K chunks a write, as fast as they go;
 *                   where the body has `"include_usage":true`, the usage before the `[DONE]`, as OpenAI has it
 *   ?split=N        the same in writes of N bytes, which end inside events
 *   ?paced=N        N events, one each 50 ms, each with the nanosecond of its sending ("t":CLOCK_MONOTONIC)
 *   ?slow=N         the same, one each 500 ms
 *   ?idle           head and one event, then nothing until the client leaves
 *   ?download=N     N bytes with Content-Length
 *   ?stall=S        reads 1 MiB of the request's body, then nothing for S seconds, then the rest; then the JSON
 * The head of either has OpenAI's 22 lines, nine of which change with every answer; events have lengths of their own and
 * `obfuscation`, as OpenAI's have.
 * A request's body (Content-Length or chunked) is read and dropped before the answer.
 * HTTP/1.1 only, no pipelining, bodies unlooked-at: enough for the benchmarks and for nothing else.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 100, STREAMS = 64, EVENT_BYTES = 160, HEAD_MAX = 16384, READ_BYTES = 1 << 18, MAX_FD = 16384 };
static const long long PACE_NS = 50000000LL, SLOW_PACE_NS = 500000000LL, STALL_AFTER = 1 << 20;

typedef struct {
    char bytes[64 * 1024];
    int len, count, ends[EVENTS + 4]; /* ends: where each HTTP chunk ends; the last one is followed by the end mark */
} flat;

typedef struct conn {
    int fd, head_len, chunked, with_usage, timed_at; /* head_len: -1 while a body is read; timed_at: place in `timed`, -1 when in none */
    SSL *ssl;
    char head[HEAD_MAX], query[64];
    long long body_left, body_read, due_ns, pace_ns, download_left;
    const char *out; /* what is being written, out_left bytes; out_step at most in one write, 0: all */
    long long out_left;
    flat *stream; /* what follows, from stream_at on: stream_step chunks a write, or where split stream_step bytes */
    int stream_at, stream_step, split, events_left, stalled;
    uint32_t interest;
    char event[EVENT_BYTES + 16], made[4096], tail[5]; /* made: the head of an answer, and the body of one in JSON; tail: the last bytes of a chunked body */
} conn;

static int epfd, timer_fd;
static SSL_CTX *tls;
static conn *timed[MAX_FD];
static int timed_count;
static flat flat_plain[STREAMS], flat_with_usage[STREAMS];
static char stream_head[256], zeros[READ_BYTES], scratch[READ_BYTES];
static long long stream_head_len;
static unsigned long long answers, bits = 88172645463325252ULL;

static unsigned long long random_bits(void) {
    bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
    return bits;
}

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* One event as one HTTP chunk; every event has the same size. */
static int write_event(char *to, long long stamp) {
    char data[EVENT_BYTES + 1];
    int used = snprintf(data, sizeof data, "data: {\"object\":\"chat.completion.chunk\",\"t\":\"%019lld\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", stamp);
    memset(data + used, 'x', EVENT_BYTES - used);
    memcpy(data + EVENT_BYTES - 7, "\"}}]}\n\n", 7);
    return sprintf(to, "%x\r\n%.*s\r\n", EVENT_BYTES, EVENT_BYTES, data);
}

static void add_chunk(flat *to, const char *data) {
    to->len += sprintf(to->bytes + to->len, "%zx\r\n%s\r\n", strlen(data), data);
    to->ends[to->count++] = to->len;
}

/* 100 events as OpenAI writes them, and what ends them. */
static void precompute_flat(flat *to, int with_usage) {
    static const char words[] = " the quick brown foxes jumped over all of the lazy dogs, and nobody minded";
    char data[1024], common[256];
    sprintf(common, "data: {\"id\":\"chatcmpl-%016llx\",\"object\":\"chat.completion.chunk\",\"created\":1764500000,"
                    "\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_560af6e559\",\"choices\":", random_bits());
    const char *usage = with_usage ? ",\"usage\":null" : "";
    for (int i = 0; i < EVENTS; i++) {
        char delta[96];
        int length = 2 + random_bits() % 9;
        if (!i) strcpy(delta, "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null");
        else if (i == EVENTS - 1) delta[0] = 0;
        else sprintf(delta, "\"content\":\"%.*s\"", length, words + random_bits() % (sizeof words - 1 - length));
        sprintf(data, "%s[{\"index\":0,\"delta\":{%s},\"logprobs\":null,\"finish_reason\":%s}]%s,\"obfuscation\":\"%.*s\"}\n\n", common, delta,
                i == EVENTS - 1 ? "\"stop\"" : "null", usage, 2 + length % 11, "aB3dE5gH7jK9m");
        add_chunk(to, data);
    }
    if (with_usage) {
        sprintf(data, "%s[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":98,\"total_tokens\":107,\"prompt_tokens_details\":{\"cached_tokens\":0,"
                      "\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,"
                      "\"rejected_prediction_tokens\":0}},\"obfuscation\":\"aB3d\"}\n\n", common);
        add_chunk(to, data);
    }
    add_chunk(to, "data: [DONE]\n\n");
    to->len += sprintf(to->bytes + to->len, "0\r\n\r\n");
    to->ends[to->count - 1] = to->len;
}

static void precompute(void) {
    stream_head_len = sprintf(stream_head, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                                           "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < STREAMS; i++) precompute_flat(&flat_plain[i], 0), precompute_flat(&flat_with_usage[i], 1);
}

/* The head of an answer with what OpenAI sends; nine of its lines are like no other answer's. */
static int write_head(char *to, const char *kind, const char *framing) {
    unsigned long long n = answers++;
    return sprintf(to, "HTTP/1.1 200 OK\r\nDate: Mon, 30 Nov 2026 12:%02llu:%02llu GMT\r\nContent-Type: %s\r\n%s\r\nConnection: keep-alive\r\n"
                       "access-control-expose-headers: X-Request-ID\r\nopenai-organization: org-x\r\nopenai-processing-ms: %llu\r\n"
                       "openai-project: proj_x\r\nopenai-version: 2020-10-01\r\nx-envoy-upstream-service-time: %llu\r\n"
                       "x-ratelimit-limit-requests: 10000\r\nx-ratelimit-limit-tokens: 200000\r\nx-ratelimit-remaining-requests: %llu\r\n"
                       "x-ratelimit-remaining-tokens: %llu\r\nx-ratelimit-reset-requests: 8.64s\r\nx-ratelimit-reset-tokens: %llums\r\n"
                       "x-request-id: req_%016llx%016llx\r\nCF-Cache-Status: DYNAMIC\r\nSet-Cookie: __cf_bm=%016llx%016llx%016llx; path=/; HttpOnly\r\n"
                       "X-Content-Type-Options: nosniff\r\nServer: cloudflare\r\nCF-RAY: %016llx-FRA\r\nalt-svc: h3=\":443\"; ma=86400\r\n\r\n",
                   n / 60 % 60, n % 60, kind, framing, 300 + random_bits() % 500, 310 + random_bits() % 500, 9999 - n % 1000, 199000 - n % 9000,
                   n % 60, random_bits(), random_bits(), random_bits(), random_bits(), random_bits(), random_bits());
}

static int write_json(char *to) {
    char body[1200], framing[64];
    int size = sprintf(body, "{\n  \"id\": \"chatcmpl-%016llx\",\n  \"object\": \"chat.completion\",\n  \"created\": 1764500000,\n  \"model\": \"gpt-4o-mini-2024-07-18\",\n"
        "  \"choices\": [\n    {\n      \"index\": 0,\n      \"message\": {\n        \"role\": \"assistant\",\n        \"content\": \"Hello! How can I help you today?%.*s\",\n"
        "        \"refusal\": null,\n        \"annotations\": []\n      },\n      \"logprobs\": null,\n      \"finish_reason\": \"stop\"\n    }\n  ],\n"
        "  \"usage\": {\n    \"prompt_tokens\": 9,\n    \"completion_tokens\": 9,\n    \"total_tokens\": 18,\n    \"prompt_tokens_details\": {\n      \"cached_tokens\": 0\n    }\n  },\n"
        "  \"service_tier\": \"default\",\n  \"system_fingerprint\": \"fp_560af6e559\"\n}\n", random_bits(), (int)(random_bits() % 40), "........................................");
    sprintf(framing, "Content-Length: %d", size);
    int head = write_head(to, "application/json", framing);
    memcpy(to + head, body, size);
    return head + size;
}

static void arm_timer(void) {
    long long next = 0;
    for (int i = 0; i < timed_count; i++)
        if (!next || timed[i]->due_ns < next) next = timed[i]->due_ns;
    struct itimerspec when = {.it_value = {next / 1000000000LL, next % 1000000000LL}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void time_at(conn *c, long long due_ns) {
    c->due_ns = due_ns;
    if (c->timed_at < 0) timed[c->timed_at = timed_count++] = c;
    arm_timer();
}

static void untime(conn *c) {
    if (c->timed_at < 0) return;
    conn *last = timed[--timed_count];
    timed[c->timed_at] = last;
    last->timed_at = c->timed_at;
    c->timed_at = -1;
    arm_timer();
}

static void drop(conn *c) {
    untime(c);
    if (c->ssl) SSL_free(c->ssl);
    close(c->fd);
    free(c);
}

static void watch(conn *c, uint32_t events) {
    if (events == c->interest) return;
    struct epoll_event e = {.events = c->interest = events, .data.ptr = c};
    epoll_ctl(epfd, EPOLL_CTL_MOD, c->fd, &e);
}

/* Bytes moved, 0: not now, -1: the connection is over. */
static long long move(conn *c, int out, void *data, long long size) {
    if (!c->ssl) {
        ssize_t n = out ? send(c->fd, data, size, MSG_NOSIGNAL) : recv(c->fd, data, size, 0);
        if (n > 0) return n;
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    ERR_clear_error(); /* what another connection left there would be taken for this one's */
    int n = out ? SSL_write(c->ssl, data, size) : SSL_read(c->ssl, data, size);
    if (n > 0) return n;
    int why = SSL_get_error(c->ssl, n);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static int flush_out(conn *c) { /* -1: dropped */
    for (;;) {
        if (!c->out_left && c->download_left) {
            c->out = zeros;
            c->out_left = c->download_left < READ_BYTES ? c->download_left : READ_BYTES;
            c->download_left -= c->out_left;
        }
        if (!c->out_left && c->stream) {
            flat *all = c->stream;
            int end;
            if (c->split) {
                end = c->stream_at + c->stream_step < all->len ? c->stream_at + c->stream_step : all->len;
                c->out = all->bytes + c->stream_at, c->out_left = end - c->stream_at, c->stream_at = end;
                if (end == all->len) c->stream = NULL;
            } else {
                int start = c->stream_at ? all->ends[c->stream_at - 1] : 0;
                end = c->stream_at + c->stream_step < all->count ? c->stream_at + c->stream_step : all->count;
                c->out = all->bytes + start, c->out_left = all->ends[end - 1] - start, c->stream_at = end;
                if (end == all->count) c->stream = NULL;
            }
        }
        if (!c->out_left) break;
        long long n = move(c, 1, (void *)c->out, c->out_left);
        if (n < 0) return drop(c), -1;
        if (!n) return watch(c, EPOLLOUT | EPOLLRDHUP), 0;
        c->out += n;
        c->out_left -= n;
    }
    watch(c, EPOLLIN);
    return 0;
}

static int answer_with(conn *c, const char *out, long long size) {
    c->out = out, c->out_left = size;
    return flush_out(c);
}

static int send_event(conn *c) {
    int used = write_event(c->event, now_ns());
    if (!--c->events_left) used += sprintf(c->event + used, "0\r\n\r\n");
    return answer_with(c, c->event, used);
}

static int answer(conn *c) {
    char *q = c->query;
    c->body_read = 0;
    if (!strncmp(q, "flat=", 5) || !strncmp(q, "split=", 6)) {
        c->split = *q == 's';
        c->stream = &(c->with_usage ? flat_with_usage : flat_plain)[answers % STREAMS];
        c->stream_at = 0, c->stream_step = atoi(strchr(q, '=') + 1);
        return answer_with(c, c->made, write_head(c->made, "text/event-stream; charset=utf-8", "Transfer-Encoding: chunked"));
    }
    if (!strncmp(q, "paced=", 6) || !strncmp(q, "slow=", 5) || !strncmp(q, "idle", 4)) {
        if (answer_with(c, stream_head, stream_head_len)) return -1;
        c->events_left = *q == 'i' ? 1 << 30 : atoi(strchr(q, '=') + 1);
        if (send_event(c)) return -1;
        c->pace_ns = *q == 's' ? SLOW_PACE_NS : PACE_NS;
        if (*q != 'i' && c->events_left) time_at(c, now_ns() + c->pace_ns);
        return 0;
    }
    if (!strncmp(q, "download=", 9)) {
        c->download_left = atoll(q + 9);
        return answer_with(c, c->event, sprintf(c->event, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                           "Content-Length: %lld\r\n\r\n", c->download_left));
    }
    return answer_with(c, c->made, write_json(c->made));
}

/* Drop body bytes; whether the body is complete. A chunked body is taken to end in "0\r\n\r\n" at the end of a read. */
static int body_done(conn *c, const char *data, long long n) {
    c->body_read += n;
    if (strchr("fs", c->query[0]) && memmem(data, n, "\"include_usage\":true", 20)) c->with_usage = 1;
    if (c->chunked) {
        int kept = n < 5 ? 5 - n : 0;
        memmove(c->tail, c->tail + 5 - kept, kept);
        memcpy(c->tail + kept, data + n - (5 - kept), 5 - kept);
        return !memcmp(c->tail, "0\r\n\r\n", 5);
    }
    return (c->body_left -= n) <= 0;
}

static int begin(conn *c, char *body) { /* a whole head lies in c->head; -1: dropped */
    char *line_end = strstr(c->head, "\r\n"), *q = memchr(c->head, '?', line_end - c->head);
    c->query[0] = 0;
    if (q) sscanf(q + 1, "%63[^ ]", c->query);
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    c->body_left = length && length < body ? atoll(length + 17) : 0;
    char *coding = strcasestr(c->head, "\r\ntransfer-encoding:");
    c->chunked = coding && coding < body;
    c->stalled = c->with_usage = 0;
    memset(c->tail, 0, sizeof c->tail);
    if (strcasestr(c->head, "\r\nexpect: 100") && move(c, 1, "HTTP/1.1 100 Continue\r\n\r\n", 25) < 0) return drop(c), -1;
    long long extra = c->head + c->head_len - body;
    c->head_len = 0;
    if (body_done(c, body, extra)) return answer(c);
    c->head_len = -1;
    return 0;
}

static void readable(conn *c) {
    for (;;) {
        if (c->head_len < 0) {
            if (!strncmp(c->query, "stall=", 6) && c->body_read >= STALL_AFTER && !c->stalled) {
                c->stalled = 1;
                watch(c, 0);
                return time_at(c, now_ns() + atoll(c->query + 6) * 1000000000LL);
            }
            long long n = move(c, 0, scratch, sizeof scratch);
            if (n < 0) return drop(c);
            if (!n) return;
            if (body_done(c, scratch, n)) {
                c->head_len = 0;
                if (answer(c)) return;
            }
            continue;
        }
        long long n = move(c, 0, c->head + c->head_len, HEAD_MAX - 1 - c->head_len);
        if (n < 0) return drop(c);
        if (!n) return;
        c->head[c->head_len += n] = 0;
        char *end = strstr(c->head, "\r\n\r\n");
        if (end) {
            if (begin(c, end + 4)) return;
            if (!c->ssl && c->head_len == 0) return; /* a plain socket tells again */
        }
    }
}

static void on_timer(void) {
    uint64_t ticks;
    if (read(timer_fd, &ticks, sizeof ticks) < 0) return;
    long long now = now_ns();
    for (int i = timed_count - 1; i >= 0; i--) {
        if (i >= timed_count) continue;
        conn *c = timed[i];
        if (c->due_ns > now) continue;
        if (c->head_len < 0) { /* a stall is over */
            untime(c);
            watch(c, EPOLLIN);
            readable(c);
        } else if (!send_event(c)) {
            if (c->events_left) c->due_ns += c->pace_ns;
            else untime(c);
        }
    }
    arm_timer();
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        conn *c = calloc(1, sizeof *c);
        c->fd = fd, c->timed_at = -1, c->interest = EPOLLIN;
        if (tls) SSL_set_fd(c->ssl = SSL_new(tls), fd), SSL_set_accept_state(c->ssl);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 4) return fprintf(stderr, "usage: upstream PORT [CERT.pem KEY.pem]\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    if (argc == 4) {
        tls = SSL_CTX_new(TLS_server_method());
        SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        if (SSL_CTX_use_certificate_chain_file(tls, argv[2]) != 1 ||
            SSL_CTX_use_PrivateKey_file(tls, argv[3], SSL_FILETYPE_PEM) != 1)
            return fprintf(stderr, "bad certificate\n"), 1;
    }
    precompute();
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) return perror("listen"), 1;
    epfd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, t = {.events = EPOLLIN, .data.ptr = &timer_fd}, ready[512];
    epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &e);
    epoll_ctl(epfd, EPOLL_CTL_ADD, timer_fd, &t);
    for (;;) {
        int n = epoll_wait(epfd, ready, 512, -1), tick = 0;
        for (int i = 0; i < n; i++) {
            conn *c = ready[i].data.ptr;
            if (!c) accept_all(listener);
            else if ((void *)c == &timer_fd) tick = 1; /* last: it may drop connections that are in this batch */
            else if (ready[i].events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) drop(c);
            else if (ready[i].events & EPOLLOUT) flush_out(c);
            else readable(c);
        }
        if (tick) on_timer();
    }
}
