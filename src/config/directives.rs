//! Directives of nginx and their keys: the one table that the hints of `weir check`, the importer
//! and the page docs/from-nginx.md are made of.
//!
//! Guarantee: page and table are the same (`directive_table_of_the_page_comes_from_the_importer` in
//! tests/config/docs.rs), and the importer has an outcome for every directive of it
//! (`every_directive_of_a_file_has_one_line` in tests/config/import.rs).

use Context::{Events, Except, Http, If, Location, Main, Parameter, Server, Upstream};
use Treatment::{Carried, Dropped, Noted, Unsupported};

/// Block of nginx in which a directive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Outside of all blocks.
    Main,
    /// `events`.
    Events,
    /// `http`.
    Http,
    /// `server` within `http`.
    Server,
    /// `location`.
    Location,
    /// `if`.
    If,
    /// `limit_except`.
    Except,
    /// `upstream`.
    Upstream,
    /// A parameter of a directive, no directive.
    Parameter,
}

/// Treatment of a directive by the importer, unless a value of it asks for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// Nothing is written: weir does it anyway, or it has no meaning there.
    Dropped,
    /// A key does the same.
    Carried,
    /// A key does nearly the same, or weir does it in another way.
    Noted,
    /// There is no counterpart.
    Unsupported,
}

impl Treatment {
    /// Word for it in the importer's lines and on the page.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Carried => "carried",
            Self::Noted => "noted",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Row of the table: directives that are treated alike.
#[derive(Clone, Copy, Debug)]
pub struct DirectiveRow {
    /// Names with commas between, and more words where only one form is meant, like `location =`.
    pub names: &'static str,
    /// Blocks they stand in.
    pub contexts: &'static [Context],
    /// Treatment by the importer.
    pub treatment: Treatment,
    /// Key of weir; empty if there is none.
    pub key: &'static str,
    /// Part of the file that has the key, like `the route`; empty for the top.
    pub on: &'static str,
    /// Difference, or the reason why there is no key and what to do.
    pub note: &'static str,
}

impl DirectiveRow {
    /// Key and its place in the file, or the reason why there is none: for the hints of `weir
    /// check`.
    #[must_use]
    pub fn counterpart(&self) -> String {
        match (self.key, self.on) {
            ("", _) => self.note.to_owned(),
            (key, "") => key.to_owned(),
            (key, on) => format!("{key} on {on}"),
        }
    }

    /// Returns true if a directive of this name is meant.
    #[must_use]
    pub fn is_named(&self, word: &str) -> bool {
        let mut names = self.all_names().filter_map(|name| name.split([' ', '=']).next());
        names.any(|name| name == word)
    }

    /// Names one by one.
    pub fn all_names(&self) -> impl Iterator<Item = &'static str> {
        self.names.split(", ")
    }
}

/// First row of a directive in a block.
#[must_use]
pub fn find(word: &str, context: Context) -> Option<&'static DirectiveRow> {
    DIRECTIVES.iter().find(|row| row.is_named(word) && row.contexts.contains(&context))
}

/// Row of a form, written as in the table.
#[must_use]
pub fn form(name: &str) -> Option<&'static DirectiveRow> {
    DIRECTIVES.iter().find(|row| row.all_names().any(|form| form == name))
}

/// First row of a word that is written where a key of weir is expected. A word that weir drops
/// needs no hint: it is rather a misspelt key.
#[must_use]
pub fn misplaced(word: &str) -> Option<&'static DirectiveRow> {
    let is_hint = |row: &&DirectiveRow| {
        let is_rare = row.key.is_empty() && row.contexts == [Upstream];
        row.is_named(word) && !is_rare && (row.treatment != Dropped || !row.key.is_empty())
    };
    DIRECTIVES.iter().find(is_hint)
}

/// Returns true for a directive or a block of nginx.
#[must_use]
pub fn is_of_nginx(word: &str) -> bool {
    DIRECTIVES.iter().any(|row| row.is_named(word))
}

const MAIN: &[Context] = &[Main];
const EVENTS: &[Context] = &[Events];
const HTTP: &[Context] = &[Http];
const UPSTREAM: &[Context] = &[Upstream];
const PARAMETER: &[Context] = &[Parameter];
const SERVERS: &[Context] = &[Http, Server];
const ONE_SERVER: &[Context] = &[Server];
const ALL: &[Context] = &[Http, Server, Location, If];
const ANYWHERE: &[Context] = &[Main, Events, Http, Server, Location, If, Except, Upstream];
const PLACES: &[Context] = &[Server, Location];
const ACTION: &[Context] = &[Location, If, Except];
const ACCESS: &[Context] = &[Http, Server, Location, If, Except];

const UPLOADS: &str = "weir writes no files: run a file server and name it as an upstream";
const AUTHENTICATION: &str = "let a service verify it, which `auth` asks about each request";
const GATEWAYS: &str = "run an HTTP server in front of the application, and name that";
const CACHE: &str = "put a cache in front, and name it in `trusted_proxies`";
const OWN_TLS: &str = "weir uses the defaults of its TLS library";
const STREAMED: &str = "bodies are streamed in both directions";
const SOCKETS: &str = "weir tunes its sockets itself";
const CODED: &str = "weir decides by the type, the size and `Accept-Encoding`";

const fn row(
    names: &'static str,
    contexts: &'static [Context],
    treatment: Treatment,
    key: [&'static str; 2],
    note: &'static str,
) -> DirectiveRow {
    DirectiveRow { names, contexts, treatment, key: key[0], on: key[1], note }
}

/// For rows without a key.
const NONE: [&str; 2] = ["", ""];

/// All directives: the first row of a name that fits a block counts.
pub const DIRECTIVES: &[DirectiveRow] = &[
    row(
        "access_log",
        ACCESS,
        Carried,
        ["access_log: { to: stdout, format: combined }", ""],
        "one log for all routes; without `access_log` in nginx's file the log is JSON on \
         standard output",
    ),
    row(
        "add_header",
        ALL,
        Carried,
        ["response: { headers: { set: { NAME: VALUE } } }", "the route"],
        "without `always` on every status too; it replaces a field of the upstream, and weir's \
         own responses have none",
    ),
    row(
        "expires",
        ALL,
        Noted,
        ["files: { cache_control: no-cache }", "the route"],
        "without the field `Expires`; of an upstream's responses set `cache-control` with \
         `response.headers.set`",
    ),
    row(
        "etag, if_modified_since",
        ALL,
        Dropped,
        NONE,
        "files have both validators, and `If-Modified-Since` counts where it is later too",
    ),
    row("add_trailer", ALL, Unsupported, NONE, "trailers of the upstream are forwarded"),
    row(
        "addition_types, add_before_body, add_after_body, image_filter, mp4, flv, slice, ssi, \
         ssi_types, sub_filter, sub_filter_last_modified, sub_filter_once, sub_filter_types, \
         xslt_stylesheet",
        ALL,
        Unsupported,
        NONE,
        "bodies are forwarded as they come",
    ),
    row(
        "aio, aio_write, directio, output_buffers, read_ahead, sendfile, sendfile_max_chunk, \
         open_file_cache, open_file_cache_errors, open_file_cache_min_uses, \
         open_file_cache_valid, open_log_file_cache",
        ALL,
        Dropped,
        NONE,
        "files are read on threads, and none is kept open",
    ),
    row(
        "access_by_lua_block, access_by_lua_file, body_filter_by_lua_block, \
         content_by_lua_block, content_by_lua_file, header_filter_by_lua_block, \
         init_by_lua_block, log_by_lua_block, lua_package_path, lua_shared_dict, \
         rewrite_by_lua_block, set_by_lua_block",
        ALL,
        Unsupported,
        NONE,
        "weir runs no scripts",
    ),
    row(
        "root",
        ALL,
        Noted,
        ["files: { root: /srv/www }", "the route"],
        "nothing outside of it and no name with a dot at its beginning is found; closed where \
         another location has the file of a directory",
    ),
    row(
        "alias",
        ALL,
        Noted,
        ["files: { root: /srv/www }", "the route"],
        "with `rewrite: { strip_prefix: /static }`",
    ),
    row(
        "index",
        ALL,
        Carried,
        ["files: { root: /srv/www, index: [ index.html ] }", "the route"],
        "names of files; a directory without one gets 403",
    ),
    row(
        "try_files",
        ALL,
        Carried,
        ["files: { root: /srv/www, fallback: /index.html }", "the route"],
        "`$uri $uri/ =404` and `$uri $uri/ /FILE`; where it ends in `@name`, that upstream gets \
         every request",
    ),
    row(
        "gzip_static, brotli_static",
        ALL,
        Carried,
        ["files: { root: /srv/www, precompressed: [ br, gzip ] }", "the route"],
        "the file itself must be there too",
    ),
    row(
        "autoindex, autoindex_exact_size, autoindex_format, autoindex_localtime, random_index",
        ALL,
        Unsupported,
        NONE,
        "weir lists no directory",
    ),
    row("disable_symlinks", ALL, Dropped, NONE, "no link leads out of the directory"),
    row(
        "allow, deny",
        ACCESS,
        Carried,
        ["access: { allow: [ NETWORK ], deny: [ NETWORK ] }", "the route"],
        "`deny` wins over `allow`, and no limit is asked before; a list whose order has another \
         meaning closes the route",
    ),
    row(
        "satisfy",
        ACCESS,
        Carried,
        ["access: { allow: [ NETWORK ], satisfy: any }", "the route"],
        "",
    ),
    row(
        "auth_basic, auth_basic_user_file",
        ACCESS,
        Carried,
        ["basic_auth: { file: users, realm: NAME }", "the route"],
        "hashes are bcrypt, argon2 and `$apr1$`; guesses are limited before a hash is computed",
    ),
    row(
        "auth_request, auth_request_set",
        ACCESS,
        Carried,
        ["auth: { url: \"http://auth:8000/verify\", pass: [ remote-user ] }", "the route"],
        "every 3xx and 4xx of the service goes back; fields keep their names",
    ),
    row(
        "auth_jwt, secure_link, secure_link_md5, secure_link_secret",
        ACCESS,
        Unsupported,
        NONE,
        AUTHENTICATION,
    ),
    row(
        "brotli, zstd",
        ALL,
        Carried,
        ["response: { compress: [ br ] }", "the route"],
        "every type of text",
    ),
    row(
        "brotli_comp_level, brotli_min_length, brotli_types, zstd_comp_level, zstd_types, \
         zstd_min_length",
        ALL,
        Dropped,
        NONE,
        CODED,
    ),
    row(
        "charset, charset_types, override_charset, source_charset, default_type",
        ALL,
        Dropped,
        NONE,
        "types belong to the upstream's responses",
    ),
    row(
        "client_body_buffer_size",
        ALL,
        Dropped,
        ["request: { buffer: 64KiB }", "the route"],
        "bodies are streamed; the key collects those of unknown length",
    ),
    row(
        "client_body_in_file_only, client_body_in_single_buffer, client_body_temp_path, \
         client_header_buffer_size, connection_pool_size, request_pool_size",
        ALL,
        Dropped,
        NONE,
        "weir keeps no body on disk and sizes its buffers itself",
    ),
    row(
        "client_body_timeout",
        ALL,
        Carried,
        ["timeouts: { body: 30s }", ""],
        "one value for all routes; a body has a least rate too",
    ),
    row(
        "client_header_timeout",
        SERVERS,
        Carried,
        ["timeouts: { header: 10s }", ""],
        "one value for all servers",
    ),
    row(
        "client_max_body_size",
        ALL,
        Carried,
        ["request: { max_body: 1MiB }", "the route"],
        "the default is 1 MiB in both, and 0 means no body here",
    ),
    row(
        "daemon, debug_points, env, lock_file, master_process, pcre_jit, pid, ssl_engine, \
         thread_pool, timer_resolution, user, worker_cpu_affinity, worker_priority, \
         working_directory",
        MAIN,
        Dropped,
        NONE,
        "weir runs in the foreground as the user who starts it",
    ),
    row("dav_access, dav_methods, create_full_put_path", ALL, Unsupported, NONE, UPLOADS),
    row(
        "error_log",
        ANYWHERE,
        Carried,
        ["`error_log: { to: stderr }`, and `log: { level: info }`", ""],
        "the first has the rejects, as fail2ban reads them; weir's own diagnostics go to \
         standard error",
    ),
    row(
        "error_page, recursive_error_pages, proxy_intercept_errors",
        ALL,
        Unsupported,
        NONE,
        "responses follow `Accept`, and `reject: { body: text }` sets that of a reject",
    ),
    row(
        "error_page 404 =200 /index.html",
        ALL,
        Carried,
        ["files: { root: /srv/www, fallback: /index.html }", "the route"],
        "",
    ),
    row("events", MAIN, Dropped, NONE, "weir has one thread for each core"),
    row(
        "accept_mutex, accept_mutex_delay, debug_connection, multi_accept, use, \
         worker_aio_requests",
        EVENTS,
        Dropped,
        NONE,
        SOCKETS,
    ),
    row(
        "fastcgi_pass, scgi_pass, memcached_pass, fastcgi_param, fastcgi_index, \
         fastcgi_split_path_info, fastcgi_read_timeout, fastcgi_buffers, fastcgi_buffer_size, \
         fastcgi_intercept_errors, fastcgi_hide_header, fastcgi_cache, fastcgi_cache_path, \
         fastcgi_cache_key, fastcgi_cache_valid, scgi_param",
        ALL,
        Unsupported,
        NONE,
        GATEWAYS,
    ),
    row(
        "geo, map",
        HTTP,
        Carried,
        ["exempt: [ NETWORK ]", "the zone"],
        "where it makes the key of a zone empty for some networks; for other requests as `when` or \
         `unless` of the rule; a map of paths to redirect by as routes",
    ),
    row(
        "geoip_country, geoip_city, geoip_org, geoip_proxy, geoip2, split_clients, js_import, \
         js_set, perl_modules, perl_set, userid, userid_name",
        ALL,
        Unsupported,
        NONE,
        "weir knows no countries and makes no variables",
    ),
    row("grpc_pass", ACTION, Carried, ["protocol: http2", "the upstream"], ""),
    row("grpc_connect_timeout", ALL, Carried, ["timeouts: { connect: 2s }", "the upstream"], ""),
    row(
        "grpc_read_timeout",
        ALL,
        Carried,
        ["timeouts: { first_byte: 30s, idle: 60s }", "the upstream"],
        "",
    ),
    row(
        "grpc_send_timeout, proxy_send_timeout",
        ALL,
        Dropped,
        NONE,
        "an upstream that takes nothing more is bounded by `timeouts.first_byte`",
    ),
    row(
        "grpc_set_header",
        ALL,
        Carried,
        ["request: { headers: { set: { NAME: VALUE } } }", "the route"],
        "",
    ),
    row(
        "gzip",
        ALL,
        Carried,
        ["response: { compress: [ gzip ] }", "the route"],
        "bodies below 1 KiB are not coded",
    ),
    row(
        "gzip_types",
        ALL,
        Noted,
        ["response: { compress: [ gzip ] }", "the route"],
        "for every type of text",
    ),
    row(
        "gzip_buffers, gzip_comp_level, gzip_disable, gzip_http_version, gzip_min_length, \
         gzip_proxied, gzip_vary, gunzip, gunzip_buffers",
        ALL,
        Dropped,
        NONE,
        CODED,
    ),
    row(
        "hash",
        UPSTREAM,
        Carried,
        ["balance: hash:client_ip", "the upstream"],
        "of the client address alone",
    ),
    row("http", MAIN, Carried, NONE, "the whole file"),
    row(
        "http2",
        SERVERS,
        Carried,
        ["tls: { certificates: [ { cert: FILE, key: FILE } ] }", "the listener"],
        "a TLS listener has HTTP/2 by ALPN, unless `protocol: http1` is set",
    ),
    row(
        "http2_body_preread_size, http2_chunk_size, http2_idle_timeout, \
         http2_max_concurrent_pushes, http2_max_concurrent_streams, http2_max_field_size, \
         http2_max_header_size, http2_max_requests, http2_push, http2_push_preload, \
         http2_recv_buffer_size, http2_recv_timeout",
        ALL,
        Dropped,
        NONE,
        "weir bounds streams and fields by its own values",
    ),
    row(
        "http3, http3_hq, http3_stream_buffer_size, quic_retry, quic_gso",
        SERVERS,
        Unsupported,
        NONE,
        "HTTP/3 is not served",
    ),
    row(
        "if ($request_method ...)",
        PLACES,
        Noted,
        ["methods: [ GET ]", "the route"],
        "with `return` alone inside; another route of the path has the response",
    ),
    row(
        "if ($new_path)",
        ONE_SERVER,
        Noted,
        ["redirect: { to: URL, status: 301 }", "the route"],
        "a route for each row of the `map` of paths that it redirects by",
    ),
    row("if (...)", PLACES, Unsupported, NONE, "write one route for each path, host or method"),
    row(
        "ignore_invalid_headers, merge_slashes, underscores_in_headers",
        SERVERS,
        Dropped,
        NONE,
        "weir refuses or merges them by its own rules: docs/reference/routing.md and \
         docs/reference/headers.md",
    ),
    row(
        "include",
        ANYWHERE,
        Carried,
        NONE,
        "its directives are imported; in weir.yaml `${file:PATH}` fills in a value, and \
         `@file:PATH` a list of networks",
    ),
    row("internal", &[Location], Unsupported, NONE, "weir has no internal requests"),
    row("ip_hash", UPSTREAM, Carried, ["balance: hash:client_ip", "the upstream"], ""),
    row(
        "keepalive",
        UPSTREAM,
        Carried,
        ["keepalive: { max_idle: 64 }", "the upstream"],
        "for each address",
    ),
    row("keepalive_disable", ALL, Dropped, NONE, "connections of old browsers are kept too"),
    row("keepalive_requests", ALL, Carried, ["max_requests: 10k", "the listener"], ""),
    row(
        "keepalive_time",
        ALL,
        Carried,
        ["timeouts: { connection: 1h }", ""],
        "one value for all servers",
    ),
    row(
        "keepalive_timeout",
        ALL,
        Carried,
        ["timeouts: { keepalive: 75s }", ""],
        "one value for all servers",
    ),
    row(
        "large_client_header_buffers",
        SERVERS,
        Carried,
        ["header_limits: { size: 32KiB }", ""],
        "the size of the whole head; 431 instead of 400",
    ),
    row(
        "least_conn",
        UPSTREAM,
        Carried,
        ["balance: least_requests", "the upstream"],
        "the default",
    ),
    row(
        "least_time, random",
        UPSTREAM,
        Noted,
        ["balance: least_requests", "the upstream"],
        "the address with the fewest requests in progress",
    ),
    row(
        "limit_conn",
        ALL,
        Carried,
        ["concurrency: [ { zone: NAME, max: 10 } ]", "the route"],
        "each stream of HTTP/2 counts, as in nginx",
    ),
    row(
        "limit_conn_zone",
        HTTP,
        Carried,
        ["concurrency: { NAME: { key: client_ip } }", ""],
        "a zone has no size",
    ),
    row(
        "limit_conn_dry_run",
        ALL,
        Carried,
        ["concurrency: [ { dry_run: true } ]", "the route"],
        "",
    ),
    row("limit_conn_log_level", ALL, Dropped, NONE, "the access log has every reject"),
    row("limit_conn_status", ALL, Carried, ["concurrency: [ { status: 503 } ]", "the route"], ""),
    row(
        "limit_except",
        &[Location],
        Carried,
        ["methods: [ GET ]", "the route"],
        "the other methods have a route of their own with the conditions of the block",
    ),
    row(
        "limit_rate, limit_rate_after, proxy_limit_rate",
        ALL,
        Unsupported,
        NONE,
        "write `response: { limit_rate: 512KiB }` on the route by hand",
    ),
    row(
        "limit_req",
        ALL,
        Carried,
        ["limits: [ { zone: NAME, burst: N } ]", "the route"],
        "written on every route, since routes inherit nothing",
    ),
    row("limit_req_dry_run", ALL, Carried, ["dry_run: true", "the rule"], ""),
    row(
        "limit_req_log_level",
        ALL,
        Dropped,
        NONE,
        "the access log has every reject, and `error_log` one line in nginx's form",
    ),
    row("limit_req_status", ALL, Carried, ["reject: { status: 503 }", ""], "or on the route"),
    row(
        "limit_req_zone",
        HTTP,
        Carried,
        ["zones: { NAME: { key: client_ip, rate: 10r/s } }", ""],
        "rates are exact, and nginx's `10m` is `capacity: 160k`",
    ),
    row(
        "lingering_close, lingering_time, lingering_timeout, reset_timedout_connection, \
         postpone_output, send_lowat, tcp_nodelay, tcp_nopush",
        ALL,
        Dropped,
        NONE,
        SOCKETS,
    ),
    row(
        "listen",
        ONE_SERVER,
        Carried,
        ["listeners: [ \"0.0.0.0:8080\" ]", ""],
        "routes do not see the port",
    ),
    row(
        "load_module",
        MAIN,
        Dropped,
        NONE,
        "weir has no modules; the directives of the module have their own lines",
    ),
    row(
        "location /api/",
        PLACES,
        Carried,
        ["routes: [ { path: /, upstream: NAME } ]", ""],
        "`/api` and everything below; never `/apiary`, which `location /api` takes",
    ),
    row(
        "location = /api",
        PLACES,
        Carried,
        ["path_exact: /api", "the route"],
        "`path: /api` for a limit, so that it holds for `/api/` too",
    ),
    row(
        "location ~ ..., location ~* ...",
        PLACES,
        Carried,
        ["path_regex: '\\.php$'", "the route"],
        "in linear time: one with a look-ahead, a back-reference or the like is closed with all \
         paths that it may take; `(?i)` for `~*`",
    ),
    row("location ^~ /static/", PLACES, Carried, ["over_regex: true", "the route"], ""),
    row(
        "location @name",
        PLACES,
        Noted,
        NONE,
        "where `try_files` ends in it, its upstream gets every request",
    ),
    row(
        "log_format",
        HTTP,
        Noted,
        ["access_log: { format: json }", ""],
        "`json` or `combined`; `format` takes its variables too",
    ),
    row("log_not_found, log_subrequest", ALL, Dropped, NONE, "the access log has every request"),
    row(
        "map_hash_bucket_size, map_hash_max_size, server_names_hash_bucket_size, \
         server_names_hash_max_size, types_hash_bucket_size, types_hash_max_size, \
         variables_hash_bucket_size, variables_hash_max_size, proxy_headers_hash_bucket_size, \
         proxy_headers_hash_max_size",
        ALL,
        Dropped,
        NONE,
        "weir sizes its tables itself",
    ),
    row(
        "max_ranges, msie_padding, msie_refresh, chunked_transfer_encoding, absolute_redirect, \
         port_in_redirect, server_name_in_redirect, early_hints, max_headers",
        ALL,
        Dropped,
        NONE,
        "responses of an upstream are forwarded as they come",
    ),
    row("mail, stream", MAIN, Unsupported, NONE, "weir forwards HTTP only"),
    row(
        "max_fails=, fail_timeout=",
        PARAMETER,
        Carried,
        ["health: { passive: { failures: 5, window: 10s, eject: 10s } }", "the upstream"],
        "one value for all its servers",
    ),
    row("backup", PARAMETER, Carried, ["backup: true", "the endpoint, in its long form"], ""),
    row(
        "down, max_conns=, slow_start=",
        PARAMETER,
        Unsupported,
        NONE,
        "write `max_connections` of the endpoint, or `slow_start` of the upstream, by hand",
    ),
    row(
        "proxy_bind, proxy_socket_keepalive, grpc_bind, proxy_method, proxy_pass_request_body, \
         proxy_pass_request_headers, proxy_set_body, proxy_store, proxy_ignore_headers, \
         proxy_force_ranges",
        ALL,
        Unsupported,
        NONE,
        "a request is forwarded as it came",
    ),
    row(
        "proxy_buffer_size",
        ALL,
        Carried,
        ["response_limits: { size: 32KiB }", "the upstream"],
        "where it is above the default",
    ),
    row(
        "proxy_buffering, proxy_buffers, proxy_busy_buffers_size, proxy_max_temp_file_size, \
         proxy_temp_file_write_size, proxy_temp_path, proxy_ignore_client_abort, \
         grpc_buffer_size",
        ALL,
        Dropped,
        NONE,
        "responses are forwarded as they come",
    ),
    row(
        "proxy_cache, proxy_cache_background_update, proxy_cache_bypass, \
         proxy_cache_convert_head, proxy_cache_key, proxy_cache_lock, proxy_cache_lock_age, \
         proxy_cache_lock_timeout, proxy_cache_max_range_offset, proxy_cache_methods, \
         proxy_cache_min_uses, proxy_cache_path, proxy_cache_purge, proxy_cache_revalidate, \
         proxy_cache_use_stale, proxy_cache_valid, proxy_no_cache",
        ALL,
        Unsupported,
        NONE,
        CACHE,
    ),
    row("proxy_connect_timeout", ALL, Carried, ["timeouts: { connect: 2s }", "the upstream"], ""),
    row(
        "proxy_cookie_domain, proxy_cookie_path",
        ALL,
        Noted,
        ["rewrite: { strip_prefix: /api, responses: true }", "the route"],
        "for the prefix of `proxy_pass`; `Location` changes too",
    ),
    row(
        "proxy_cookie_flags",
        ALL,
        Unsupported,
        NONE,
        "`Set-Cookie` is forwarded as the application wrote it",
    ),
    row(
        "proxy_hide_header, grpc_hide_header",
        ALL,
        Carried,
        ["response: { headers: { remove: [ NAME ] } }", "the route"],
        "",
    ),
    row(
        "proxy_http_version",
        ALL,
        Dropped,
        NONE,
        "endpoints get HTTP/1.1, over connections that are kept",
    ),
    row(
        "proxy_next_upstream, proxy_next_upstream_timeout, grpc_next_upstream",
        ALL,
        Noted,
        ["retries: { attempts: 2 }", "the upstream"],
        "only what is safe is sent again, and never by a status",
    ),
    row(
        "proxy_next_upstream_tries, grpc_next_upstream_tries",
        ALL,
        Carried,
        ["retries: { attempts: 2 }", "the upstream"],
        "",
    ),
    row(
        "proxy_pass http://app:8000",
        ACTION,
        Carried,
        ["upstream: http://host:port", ""],
        "or the name of an upstream; `Host` is forwarded as received",
    ),
    row(
        "proxy_pass http://app:8000/api/",
        ACTION,
        Carried,
        ["rewrite: { strip_prefix: /app, add_prefix: /api }", "the route"],
        "whole segments change",
    ),
    row(
        "proxy_pass_header, grpc_pass_header",
        ALL,
        Dropped,
        NONE,
        "`Date` and `Server` of an endpoint are forwarded",
    ),
    row("proxy_protocol", PARAMETER, Carried, ["proxy_protocol: true", "the listener"], ""),
    row(
        "proxy_read_timeout",
        ALL,
        Carried,
        ["timeouts: { first_byte: 30s, idle: 60s }", "the upstream"],
        "",
    ),
    row(
        "proxy_redirect",
        ALL,
        Noted,
        ["rewrite: { strip_prefix: /api, responses: true }", "the route"],
        "for the prefix of `proxy_pass`; cookies change too; else `Location` is forwarded as the \
         application wrote it",
    ),
    row(
        "proxy_request_buffering",
        ALL,
        Noted,
        ["request: { buffer: 64KiB }", "the route"],
        STREAMED,
    ),
    row(
        "proxy_set_header",
        ALL,
        Carried,
        ["request: { headers: { set: { NAME: VALUE } } }", "the route"],
        "the usual forwarding fields and upgrades need none",
    ),
    row(
        "proxy_ssl_certificate, proxy_ssl_certificate_key, proxy_ssl_crl, \
         proxy_ssl_password_file, proxy_ssl_conf_command",
        ALL,
        Unsupported,
        NONE,
        "write `tls: { cert: FILE, key: FILE }` of the upstream by hand",
    ),
    row(
        "proxy_ssl_ciphers, proxy_ssl_protocols, proxy_ssl_server_name, \
         proxy_ssl_session_reuse, proxy_ssl_verify_depth, grpc_ssl_server_name",
        ALL,
        Dropped,
        NONE,
        OWN_TLS,
    ),
    row(
        "proxy_ssl_name, grpc_ssl_name",
        ALL,
        Carried,
        ["tls: { server_name: NAME }", "the upstream"],
        "",
    ),
    row(
        "proxy_ssl_trusted_certificate, grpc_ssl_trusted_certificate",
        ALL,
        Carried,
        ["tls: { ca: FILE }", "the upstream"],
        "",
    ),
    row(
        "proxy_ssl_verify, grpc_ssl_verify",
        ALL,
        Noted,
        NONE,
        "endpoints written with `https://` are always verified",
    ),
    row(
        "real_ip_header",
        ALL,
        Carried,
        ["client_ip: { header: x-forwarded-for }", ""],
        "or any other name; one that is no list has one address, or the request gets 400",
    ),
    row(
        "real_ip_recursive",
        ALL,
        Carried,
        ["client_ip: { recursive: true }", ""],
        "the default here",
    ),
    row(
        "resolver, resolver_timeout",
        &[Http, Server, Location, If, Upstream],
        Dropped,
        ["dns: { refresh: 5s }", "the upstream"],
        "names are resolved again by the system's resolver",
    ),
    row(
        "return 200 ...",
        &[Server, Location, If],
        Carried,
        ["respond: { status: 200, body: ok }", "the route"],
        "`redirect: { to: URL, status: 301 }` for 3xx and `close: true` for 444; conditions and \
         limits of the location are left out, since `return` comes before them in nginx; of a \
         whole server too",
    ),
    row(
        "return 301 https://...",
        PLACES,
        Noted,
        ["redirect: https", "the listener"],
        "308, to the same host, where a server does nothing else",
    ),
    row(
        "rewrite",
        &[Server, Location, If],
        Carried,
        ["rewrite: { regex: '^/old/(.*)$', to: \"/new/{1}\" }", "the route"],
        "with `redirect` for `permanent`, `redirect` and a URL; one that is for a part of the \
         paths of its location closes it, unless it redirects",
    ),
    row(
        "rewrite_log, set, break, uninitialized_variable_warn",
        &[Http, Server, Location, If],
        Unsupported,
        NONE,
        "a route has no variables",
    ),
    row(
        "server_name",
        ONE_SERVER,
        Carried,
        ["host: name", "the route"],
        "or `hosts: [ a, b ]`; a server that takes every other host gets routes without it",
    ),
    row(
        "server_tokens, more_clear_headers, more_set_headers",
        ALL,
        Dropped,
        NONE,
        "weir's own responses name no version",
    ),
    row("set_real_ip_from", ALL, Carried, ["client_ip: { trusted_proxies: [ NETWORK ] }", ""], ""),
    row(
        "ssl_certificate, ssl_certificate_key",
        SERVERS,
        Carried,
        ["tls: { certificates: [ { cert: FILE, key: FILE } ] }", "the listener"],
        "",
    ),
    row(
        "ssl_client_certificate, ssl_verify_client",
        SERVERS,
        Carried,
        ["tls: { client_ca: FILE }", "the listener"],
        "for every client of the listener",
    ),
    row(
        "ssl_crl, ssl_ocsp, ssl_password_file, ssl_reject_handshake, ssl_verify_depth",
        SERVERS,
        Unsupported,
        NONE,
        "write `client_crl` by hand; the others have no key",
    ),
    row(
        "ssl_protocols",
        SERVERS,
        Carried,
        ["tls: { min_version: \"1.2\" }", "the listener"],
        "TLS 1.2 and 1.3 only",
    ),
    row(
        "ssl, ssl_buffer_size, ssl_ciphers, ssl_conf_command, ssl_dhparam, ssl_early_data, \
         ssl_ecdh_curve, ssl_prefer_server_ciphers, ssl_session_cache, ssl_session_ticket_key, \
         ssl_session_tickets, ssl_session_timeout, ssl_stapling, ssl_stapling_file, \
         ssl_stapling_responder, ssl_stapling_verify, ssl_trusted_certificate",
        SERVERS,
        Dropped,
        NONE,
        OWN_TLS,
    ),
    row(
        "state, zone, queue, sticky, sticky_cookie_insert, ntlm, check",
        UPSTREAM,
        Unsupported,
        NONE,
        "write `queue` or `sticky` of the upstream by hand; the others have no key",
    ),
    row("stub_status", PLACES, Unsupported, NONE, "the access log has every number"),
    row("types, types_hash", ALL, Dropped, NONE, "types of files go by the endings of their names"),
    row(
        "upstream",
        HTTP,
        Carried,
        ["upstreams: { NAME: { endpoints: [ http://host:port ] } }", ""],
        "",
    ),
    row(
        "uwsgi_pass, uwsgi_param, uwsgi_read_timeout, uwsgi_send_timeout, \
         uwsgi_connect_timeout, uwsgi_buffers",
        ALL,
        Unsupported,
        NONE,
        "use uWSGI's HTTP socket",
    ),
    row("weight=", PARAMETER, Carried, ["weight: 2", "the endpoint, in its long form"], ""),
    row(
        "worker_connections",
        EVENTS,
        Noted,
        ["max_connections: auto", "the listener"],
        "`auto` follows the limit of open files",
    ),
    row("worker_processes", MAIN, Carried, ["workers: auto", ""], ""),
    row(
        "worker_rlimit_core, worker_rlimit_nofile",
        MAIN,
        Noted,
        ["max_connections: auto", "the listener"],
        "weir asks for as many files as the hard limit grants",
    ),
    row("worker_shutdown_timeout", MAIN, Carried, ["drain: 8s", ""], ""),
    row(
        "keepalive_timeout",
        UPSTREAM,
        Carried,
        ["keepalive: { idle: 1500ms }", "the upstream"],
        "",
    ),
    row("send_timeout", ALL, Carried, ["timeouts: { write: 30s }", ""], "one value for all routes"),
    row("server", UPSTREAM, Carried, ["endpoints: [ http://host:port ]", "the upstream"], ""),
    row(
        "server",
        HTTP,
        Carried,
        ["listeners: [ \":8080\" ] for `listen`, and `host`", "the route for `server_name`"],
        "",
    ),
    row(
        "keepalive_requests, keepalive_time",
        UPSTREAM,
        Dropped,
        NONE,
        "a kept connection has no number of requests",
    ),
];
