//! The service behind a real PgBouncer that gives a server connection to each transaction.

use auth::app::App;
use auth::database::Database as Address;
use auth::settings::Pooler;
use serde_json::json;
use tokio::task::JoinSet;

use crate::bench::{Bench, PASSWORD, migrated, on, settings, shared_database};
use weir_test::pgbouncer::PgBouncer;
use weir_test::postgres::Server;

/// Everything one person does, each step a transaction or a read of its own.
async fn live_a_day(bench: &Bench) {
    let ada = bench.person().await;
    assert_eq!(bench.me(&ada.access).await.status, 200);
    let (status, access) = {
        let response = bench.refresh(&ada.refresh).await;
        (response.status, response.member("access_token"))
    };
    assert_eq!(status, 200);
    let sessions = bench.call("GET /api/v1/me/sessions").bearer(&access).send().await;
    assert_eq!(sessions.status, 200, "{}", sessions.text);
    let change = json!({"current_password": PASSWORD, "new_password": "another horse battery"});
    assert_eq!(
        bench
            .call("POST /api/v1/password/change")
            .bearer(&access)
            .json(&change)
            .send()
            .await
            .status,
        204
    );
    assert_eq!(bench.login_call(&ada.name, PASSWORD).send().await.status, 401);
    assert_eq!(
        bench
            .call("PATCH /api/v1/me")
            .bearer(&access)
            .json(&json!({"country": "SE"}))
            .send()
            .await
            .status,
        200
    );
    assert_eq!(bench.call("POST /api/v1/logout").bearer(&access).send().await.status, 204);
    assert_eq!(bench.me(&access).await.status, 401);
}

/// Two server connections for ten of the service: what one transaction leaves behind, another
/// client's would meet.
#[tokio::test(flavor = "multi_thread")]
async fn pooler_of_transactions_serves_everything_within_its_connections() {
    let database = migrated(Server::shared());
    let pooler = PgBouncer::start(Server::shared(), 2, "");
    let bench = std::sync::Arc::new(
        on(&database, |settings| {
            settings.database =
                Address::from_url(&pooler.url(&database), None).expect("an address");
            settings.pooler = Pooler::Transaction;
        })
        .await,
    );
    let mut days = JoinSet::new();
    for _ in 0..8 {
        let bench = std::sync::Arc::clone(&bench);
        days.spawn(async move { live_a_day(&bench).await });
    }
    days.join_all().await;
    let admin = bench.admin().await;
    assert_eq!(
        bench.call("GET /api/v1/admin/users").bearer(&admin.access).send().await.status,
        200
    );
    let secret = bench.auth.create_client("pooled").await.expect("a client");
    bench.auth.authenticate_client("pooled", &secret).await.expect("kept");
    assert_eq!(bench.call("GET /health/ready").send().await.status, 200);
    let used = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND \
                usename = 'auth_app'";
    assert_eq!(database.run(used), "2");
    let prepared = "SELECT count(*) FROM pg_prepared_statements";
    let mut connection = bench.auth.store.connection().await.expect("a connection");
    let left: i64 =
        connection.scalar(prepared).fetch_one(connection.raw()).await.expect("a number");
    assert_eq!(left, 0, "a statement with a name outlives its transaction");
}

/// The cache relies on it that no statement runs longer.
#[tokio::test(flavor = "multi_thread")]
async fn pooler_or_not_statements_have_the_same_limits() {
    let pooler = PgBouncer::start(Server::shared(), 2, "");
    for kind in [Pooler::None, Pooler::Transaction] {
        let bench = on(shared_database(), |settings| {
            if kind == Pooler::Transaction {
                settings.database =
                    Address::from_url(&pooler.url(shared_database()), None).expect("an address");
            }
            settings.pooler = kind;
        })
        .await;
        for mut connection in
            [bench.auth.store.connection().await.unwrap(), bench.auth.store.begin().await.unwrap()]
        {
            for (limit, expected) in [
                ("statement_timeout", "4s"),
                ("lock_timeout", "2s"),
                ("idle_in_transaction_session_timeout", "5s"),
            ] {
                let query = connection.scalar("SELECT current_setting($1)").bind(limit);
                let found: String = query.fetch_one(connection.raw()).await.expect("a setting");
                assert_eq!(found, expected, "{kind:?} {limit}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pooler_that_the_settings_do_not_name_is_refused_at_the_start() {
    for (ignored, cause) in [
        ("", "unsupported startup parameter: "),
        ("extra_float_digits, options", "it drops the startup parameter `options`"),
    ] {
        let pooler = PgBouncer::start(Server::shared(), 2, ignored);
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = settings(shared_database(), folder.path());
        settings.database =
            Address::from_url(&pooler.url(shared_database()), None).expect("an address");
        settings.start_wait = std::time::Duration::from_secs(600);
        let refused = App::bind(settings).await.expect_err("refused");
        let hint = refused.hint().unwrap_or_default();
        assert!(refused.to_string().contains(cause), "{refused}");
        assert!(hint.contains("behind a pooler set `DATABASE_POOLER=transaction`"), "{hint}");
    }
}
