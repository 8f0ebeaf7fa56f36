/* Preloaded into wrk: makes each TLS handshake full, or lets it resume a session, and counts both.
 *
 * wrk keeps the session of a connection that it opens again, so that all but the first handshakes
 * are resumed where the server allows it. With HANDSHAKES=full the session is dropped. At the end
 * one line on standard error says how many handshakes there were of either kind. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ssl_st SSL;
typedef struct ssl_session_st SSL_SESSION;
extern int SSL_session_reused(const SSL *ssl);
extern int SSL_set_session(SSL *ssl, SSL_SESSION *session);
extern int SSL_is_init_finished(const SSL *ssl);

static unsigned long full, resumed;
static int (*shutdown_next)(SSL *);
static int must_be_full;

__attribute__((constructor)) static void begin(void) {
    const char *kind = getenv("HANDSHAKES");
    must_be_full = kind && !strcmp(kind, "full");
    shutdown_next = (int (*)(SSL *))dlsym(RTLD_NEXT, "SSL_shutdown");
}

/* wrk calls this once as it closes a connection. */
int SSL_shutdown(SSL *ssl) {
    if (SSL_is_init_finished(ssl)) SSL_session_reused(ssl) ? resumed++ : full++;
    int done = shutdown_next(ssl);
    if (must_be_full) SSL_set_session(ssl, NULL);
    return done;
}

__attribute__((destructor)) static void end(void) {
    fprintf(stderr, "{\"full\":%lu,\"resumed\":%lu}\n", full, resumed);
}
