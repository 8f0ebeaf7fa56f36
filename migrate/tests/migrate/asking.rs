//! The commands that only tell.

use weir_test::migrations::with;

const TWO: [(u32, &str, &str); 2] = [(1, "SELECT 1", "SELECT 1"), (2, "SELECT 2", "")];

#[test]
fn current_tells_where_the_database_is() {
    let bench = with(&TWO);
    assert_eq!(bench.migrate("current").fine(), "base\npending 1_r1\npending 2_r2");
    bench.migrate("upgrade +1").fine();
    assert_eq!(bench.migrate("current").fine(), "1_r1\npending 2_r2");
    let ended = bench.migrate("current --check-heads");
    assert_eq!(ended.out, "1_r1\npending 2_r2\n");
    ended.refused(6, "error: not at head: `2_r2` to apply");
    bench.migrate("check").refused(6, "not at head");
    bench.migrate("upgrade head").fine();
    assert_eq!(bench.migrate("current --check-heads").fine(), "2_r2 (head)");
    assert!(
        bench
            .migrate("current -v")
            .fine()
            .starts_with("revision 2 (head)\n  message:  r2\n  follows:  1\n")
    );
}

#[test]
fn asking_makes_no_table() {
    let bench = with(&TWO);
    for command in ["current", "history -i", "upgrade head --sql", "upgrade head --dry-run"] {
        bench.migrate(command).fine();
    }
    assert_eq!(
        bench.database.run("SELECT count(*) FROM pg_namespace WHERE nspname = 'migrations'"),
        "0"
    );
}

#[test]
fn history_needs_no_database() {
    let bench = with(&TWO);
    let tell = |arguments: &str| {
        bench.command(arguments).env_remove("DATABASE_URL").output().expect("the command").into()
    };
    let fine = |arguments: &str| weir_test::migrations::Ended::fine(tell(arguments));
    assert_eq!(fine("history"), "1 -> 2 (head), r2\nbase -> 1, r1");
    assert_eq!(fine("heads"), "2_r2 (head)");
    let two = "revision 2 (head)\n  message:  r2\n  follows:  1\n  file:     \
               migrations/2_r2.up.sql\n  \
               file:     migrations/2_r2.down.sql\n  undo:     cannot be undone";
    assert!(fine("history -v").starts_with(&format!("{two}\nrevision 1\n")));
    assert_eq!(
        fine("show r2"),
        format!(
            "{two}\n\n==> migrations/2_r2.up.sql <==\nSELECT 2\n\n==> migrations/2_r2.down.sql <=="
        )
    );
}

#[test]
fn history_shows_what_was_applied() {
    let bench = with(&TWO);
    bench.migrate("upgrade +1").fine();
    let history = bench.migrate("history -i").fine();
    assert!(history.starts_with("1 -> 2 (head), r2\nbase -> 1, r1, applied 20"), "{history}");
}

#[test]
fn json_has_the_same_output() {
    let bench = with(&TWO);
    let ask = |arguments: &str| -> serde_json::Value {
        serde_json::from_str(&bench.migrate(arguments).out)
            .unwrap_or_else(|_| panic!("no JSON from {arguments}"))
    };
    assert_eq!(ask("upgrade +1 --json"), serde_json::json!({ "ran": ["1_r1"], "current": "1_r1" }));
    let current = ask("current --check-heads --json");
    assert_eq!((&current["pending"][0], &current["failure"]["exit"]), (&"2_r2".into(), &6.into()));
    let failure = ask("--json upgrade nowhere")["failure"].clone();
    assert_eq!(
        (&failure["error"], &failure["hint"]),
        (&"no revision begins with `nowhere`".into(), &"`migrate history` lists them".into())
    );
    assert_eq!(ask("history --json")["revisions"][0]["reversible"], false);
    assert_eq!(ask("heads --json"), serde_json::json!({ "heads": ["2_r2"] }));
}

#[test]
fn state_tells_a_service_whether_it_may_serve() {
    let bench = with(&TWO);
    bench.migrate("upgrade +1").fine();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let state = || {
        runtime.block_on(async {
            let database = weir_migrate::database::Database::from_url(&bench.database.url(), None)
                .expect("an address");
            let mut connection = database.connect("auth").await.expect("a connection");
            let revisions = weir_migrate::Revisions::load(
                &bench.path("migrations"),
                weir_migrate::BuiltIn::NONE,
            )
            .expect("revisions");
            weir_migrate::state(&mut connection, &revisions).await.expect("an response")
        })
    };
    assert!(state().behind() && !state().ahead());
    bench.migrate("upgrade head").fine();
    assert!(!state().behind() && !state().ahead());
    bench.remove("2_r2.up.sql");
    bench.remove("2_r2.down.sql");
    assert!(!state().behind() && state().ahead());
    assert_eq!(state().unknown, ["2_r2"]);
}
