//! The house rules: floors, names, and that what is written down exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Every module directly under `src/` and the floor it stands on; `limit` is a package of its own,
/// whose name `src/lib.rs` gives it. A file imports from strictly lower floors, or from its own
/// module.
const FLOORS: [(&str, u32); 17] = [
    ("demo", 0),
    ("limit", 0),
    ("runtime", 0),
    ("http", 1),
    ("access", 2),
    ("compress", 2),
    ("log", 2),
    ("downstream", 3),
    ("files", 3),
    ("upstream", 3),
    ("proxy", 4),
    ("config", 5),
    ("process", 6),
    ("tools", 6),
    ("cli", 7),
    ("main", 7),
    ("lib", 8),
];

/// The same for the auth service, below `auth/src/`.
const AUTH_FLOORS: [(&str, u32); 19] = [
    ("clock", 0),
    ("allowance", 0),
    ("metrics", 0),
    ("token", 0),
    ("text", 0),
    ("revisions", 0),
    ("argon", 1),
    ("cursor", 1),
    ("password", 1),
    ("person", 1),
    ("cache", 1),
    ("settings", 1),
    ("store", 2),
    ("service", 3),
    ("http", 4),
    ("app", 5),
    ("cli", 6),
    ("main", 7),
    ("lib", 8),
];

/// The same for the migrations, below `migrate/src/`.
const MIGRATE_FLOORS: [(&str, u32); 24] = [
    ("database", 0),
    ("built_in", 0),
    ("error", 0),
    ("event", 0),
    ("statements", 0),
    ("lock", 1),
    ("revision", 1),
    ("broken", 2),
    ("directory", 2),
    ("ledger", 2),
    ("session", 2),
    ("create", 3),
    ("standing", 3),
    ("target", 3),
    ("view", 3),
    ("apply", 3),
    ("plan", 4),
    ("stamp", 4),
    ("downgrade", 5),
    ("script", 5),
    ("upgrade", 5),
    ("cli", 6),
    ("main", 7),
    ("lib", 8),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the house") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(files_below(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every source file of weir with its path below `src/` and its text up to the unit tests.
fn sources() -> Vec<(String, String)> {
    sources_below("src")
}

/// Those of all members, with their folder.
fn all_sources() -> impl Iterator<Item = (String, String)> {
    let below = |src: &'static str| {
        sources_below(src).into_iter().map(move |(name, text)| (format!("{src}/{name}"), text))
    };
    ["src", "limit/src", "auth/src", "migrate/src"].into_iter().flat_map(below)
}

fn sources_below(src: &str) -> Vec<(String, String)> {
    let src = root().join(src);
    let read = |path: PathBuf| {
        let name =
            path.strip_prefix(&src).expect("a file below src").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a source file");
        let product = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        (name, product)
    };
    files_below(&src, ".rs").into_iter().map(read).collect()
}

fn module_of(name: &str) -> &str {
    name.split('/').next().map_or(name, |first| first.trim_end_matches(".rs"))
}

fn floor(floors: &[(&str, u32)], module: &str) -> u32 {
    let found = floors.iter().find(|(name, _)| *name == module);
    found
        .unwrap_or_else(|| {
            panic!("`{module}` has no floor: give it one in tests/house.rs and ARCHITECTURE.md")
        })
        .1
}

/// The modules a text names behind `crate::`, in `use` trees and in paths.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => found.extend(first_word(rest)),
            Some(tree) => found.extend(top_level(tree).iter().filter_map(|item| first_word(item))),
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String =
        text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// The items of a `use` tree, up to its closing brace.
fn top_level(tree: &str) -> Vec<String> {
    let (mut depth, mut items) = (0, vec![String::new()]);
    for c in tree.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                items.last_mut().expect("never empty").push(c);
            }
        }
    }
    items
}

/// What a house imports upward or sideways.
fn not_downward(src: &str, floors: &[(&str, u32)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, text) in sources_below(src) {
        // The programs beside the main one stand where it stands.
        let module = if name.starts_with("bin/") { "main" } else { module_of(&name) };
        for import in imports(&text) {
            let known = floors.iter().any(|(name, _)| *name == import);
            if known && import != module && floor(floors, &import) >= floor(floors, module) {
                wrong.push(format!("{src}/{name} imports `{import}`"));
            }
        }
        floor(floors, module);
    }
    wrong
}

#[test]
fn imports_go_strictly_downward() {
    let members =
        [("src", &FLOORS[..]), ("auth/src", &AUTH_FLOORS), ("migrate/src", &MIGRATE_FLOORS)];
    let wrong: Vec<_> =
        members.iter().flat_map(|(src, floors)| not_downward(src, floors)).collect();
    assert!(wrong.is_empty(), "upward or sideways: {wrong:#?}");
}

#[test]
fn import_reader_reads_use_trees() {
    let text = "use crate::{\n    a::B,\n    c::{D, e::F},\n};\nfn g() { crate::h::i() }";
    assert_eq!(imports(text), ["a", "c", "h"].map(str::to_owned).into());
}

/// Text without comments and without what only tests compile.
fn product(text: &str) -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let mut text: String = text.lines().filter(is_code).map(|line| format!("{line}\n")).collect();
    while let Some(start) = text.find("#[cfg(test)]") {
        let item = text[start..].find(['{', ';']).map_or(text.len(), |end| start + end + 1);
        let is_block = text[..item].ends_with('{');
        text.replace_range(start..if is_block { text.len() } else { item }, "");
    }
    text
}

/// Paths of a `use` tree: `a::{B, c::D}` has `a::B` and `a::c::D`.
fn leaves(tree: &str) -> Vec<String> {
    let Some((prefix, inner)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let items = top_level(inner).into_iter().filter(|item| !item.trim().is_empty());
    let leaves = items.flat_map(|item| leaves(item.trim()));
    leaves.map(|leaf| format!("{}{leaf}", prefix.trim())).collect()
}

/// Every path that a text names, in `use` trees and elsewhere.
fn paths_named(text: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), String::new());
    for statement in product(text).split_inclusive(';') {
        let begin =
            ["use ", "pub use ", "pub(crate) use ", "pub(super) use "].iter().find_map(|word| {
                let at = statement.rfind(&format!("\n{word}"));
                at.or(statement.starts_with(word).then_some(0)).map(|at| (at, word.len()))
            });
        let Some((at, word)) = begin else {
            rest.push_str(statement);
            continue;
        };
        rest.push_str(&statement[..at]);
        found.extend(leaves(statement[at..].trim_start()[word..].trim_end_matches(';')));
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = rest.split(|c| !is_word(c)).filter(|word| word.contains("::"));
    found.extend(words.map(str::to_owned));
    found
}

/// Module of a file below a source folder; empty for `lib.rs`.
fn module_path(name: &str) -> Vec<&str> {
    let mut path: Vec<&str> = name.trim_end_matches(".rs").split('/').collect();
    if path.last() == Some(&"mod") || path == ["lib"] {
        path.pop();
    }
    path
}

/// File among `modules` that a path leads to, seen from the module `here`.
fn file_of(path: &str, here: &[&str], modules: &BTreeSet<Vec<&str>>) -> Option<usize> {
    let mut words = path.split("::").peekable();
    let mut place = match words.peek() {
        Some(&"crate") => Vec::new(),
        Some(&"self") => here.to_vec(),
        Some(&"super") => here[..here.len().saturating_sub(1)].to_vec(),
        Some(word) if modules.contains(&[here, &[*word]].concat()) => here.to_vec(),
        _ => return None,
    };
    words.next_if(|word| ["crate", "self", "super"].contains(word));
    while words.next_if(|word| *word == "super").is_some() {
        place.pop();
    }
    for word in words {
        place.push(word);
        if !modules.contains(&place) {
            place.pop();
            break;
        }
    }
    modules.iter().position(|module| *module == place)
}

/// Files of a crate that import each other, directly or through others.
fn circles(src: &str) -> Vec<String> {
    let files: BTreeMap<String, String> = files_below(&root().join(src), ".rs")
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root().join(src)).expect("below").display().to_string();
            (name, fs::read_to_string(&path).expect("a source file"))
        })
        .collect();
    let named: BTreeMap<Vec<&str>, &str> =
        files.iter().map(|(name, text)| (module_path(name), text.as_str())).collect();
    let modules: BTreeSet<Vec<&str>> = named.keys().cloned().collect();
    let imports: Vec<BTreeSet<usize>> = named
        .iter()
        .map(|(here, text)| {
            paths_named(text).iter().filter_map(|path| file_of(path, here, &modules)).collect()
        })
        .collect();
    let reached = |from: usize| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            next.extend(imports[file].iter().filter(|other| seen.insert(**other)));
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..imports.len()).map(reached).collect();
    let named: Vec<String> = modules.iter().map(|module| module.join("::")).collect();
    let pairs =
        imports.iter().enumerate().flat_map(|(from, to)| to.iter().map(move |to| (from, *to)));
    let circular = pairs.filter(|(from, to)| from != to && reached[*to].contains(from));
    circular.map(|(from, to)| format!("{src}: {} -> {}", named[from], named[to])).collect()
}

#[test]
fn files_of_a_crate_import_in_no_circle() {
    let found: Vec<_> =
        ["src", "limit/src", "auth/src", "migrate/src"].into_iter().flat_map(circles).collect();
    assert!(found.is_empty(), "move what both need down into a file of its own: {found:#?}");
}

#[test]
fn paths_of_a_file_lead_to_files() {
    let text = "//! a::No\nuse std::fmt;\npub use self::b::{C, d::{self, E as F}};\nmod b;\n\
        fn f() { super::g::h(); b::i() }\n#[cfg(test)]\nmod tests { use crate::j; }\n";
    assert_eq!(
        paths_named(text),
        ["std::fmt", "self::b::C", "self::b::d::self", "self::b::d::E", "super::g::h", "b::i"]
    );
    let modules =
        BTreeSet::from([vec![], vec!["a"], vec!["a", "b"], vec!["a", "b", "d"], vec!["g"]]);
    let to = |path| file_of(path, &["a"], &modules).map(|index| modules.iter().nth(index));
    assert_eq!(to("self::b::d::E"), Some(Some(&vec!["a", "b", "d"])));
    assert_eq!(to("super::g::h"), Some(Some(&vec!["g"])));
    assert_eq!(to("b::i"), Some(Some(&vec!["a", "b"])));
    assert_eq!(to("crate::Thing"), Some(Some(&vec![])));
    assert_eq!(to("std::fmt"), None);
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent: Vec<_> =
        all_sources().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn nothing_is_left_over_or_unsafe() {
    let banned = [
        ".unwrap()",
        "unsafe ",
        "TODO",
        "FIXME",
        "todo!(",
        "unimplemented!(",
        "dbg!(",
        ".unwrap_unchecked(",
    ];
    let mut found = Vec::new();
    for (name, text) in all_sources() {
        let is_allowed = |word: &str| {
            name == "src/runtime/sys.rs" && word == "unsafe " && text.matches(word).count() == 3
        };
        let here = banned.iter().filter(|word| text.contains(**word) && !is_allowed(word));
        found.extend(here.map(|word| format!("{name}: {word}")));
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn names_say_what_is_inside() {
    let banned =
        ["mod", "utils", "util", "common", "helpers", "helper", "types", "manager", "misc"];
    for (name, _) in all_sources() {
        for part in name.trim_end_matches("/mod.rs").trim_end_matches(".rs").split('/') {
            assert!(!banned.contains(&part) && !part.ends_with("_main"), "{name}");
        }
    }
}

#[test]
fn lexicon_words_are_used() {
    let banned = ["backend", "backpressure", "bucket_manager"];
    for (name, text) in sources() {
        let mut lower = text.to_lowercase();
        // Kubernetes and ingress-nginx have keys of that name.
        for key in ["\"backend\"", "\"defaultbackend\"", "backend-protocol", "default-backend"] {
            lower = lower.replace(key, "");
        }
        for word in banned {
            assert!(
                !lower.contains(word),
                "{name} says `{word}`: docs/lexicon.md has the word to use"
            );
        }
    }
}

#[test]
fn decision_engine_knows_no_runtime_and_reads_no_clock() {
    for (name, text) in sources_below("limit/src") {
        if name != "layer.rs" {
            for word in ["tokio", "Instant::now", "SystemTime", "std::net::Tcp", "std::fs"] {
                assert!(!text.contains(word), "{name} names `{word}`");
            }
        }
    }
}

#[test]
fn yaml_is_read_in_one_place() {
    let places: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| text.contains("serde_yaml"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(places, ["config/schema/mod.rs"]);
}

#[test]
fn answers_are_made_in_one_place() {
    let makers = ["Response::new(", "Response::builder(", "ResponseParts::of("];
    let maker = |text: &str| makers.iter().any(|maker| text.contains(maker));
    let files = sources().into_iter().chain(sources_below("limit/src"));
    let places: Vec<_> = files.filter(|(_, text)| maker(text)).map(|(name, _)| name).collect();
    // `downstream/http2/response.rs` says `100 Continue`, and `http/message.rs` translates.
    assert_eq!(
        places,
        [
            "demo/mod.rs",
            "downstream/http2/response.rs",
            "http/message.rs",
            "process/admin.rs",
            "proxy/reject.rs",
            "proxy/reply.rs",
            "layer.rs"
        ]
    );
}

#[test]
fn main_is_thin() {
    let main = fs::read_to_string(root().join("src/main.rs")).expect("src/main.rs");
    assert!(main.lines().count() <= 40);
}

#[test]
fn proxy_compiles_no_database_driver() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    for crate_name in ["sqlx", "redis", "diesel", "rusqlite", "postgres"] {
        assert!(
            !manifest.lines().any(|line| line.starts_with(&format!("{crate_name} "))),
            "{crate_name}"
        );
    }
}

/// Name of the public type that a line declares.
fn public_type(line: &str) -> Option<String> {
    let declared = line.trim_start().strip_prefix("pub ")?;
    let kinds = ["struct ", "enum ", "trait ", "type "];
    kinds.iter().find_map(|kind| declared.strip_prefix(kind)).and_then(first_word)
}

#[test]
fn public_types_of_a_crate_have_different_names() {
    for src in ["src", "limit/src"] {
        let mut places = BTreeMap::<String, Vec<String>>::new();
        for (name, text) in sources_below(src) {
            for declared in text.lines().filter_map(public_type) {
                places.entry(declared).or_default().push(format!("{src}/{name}"));
            }
        }
        assert!(places.len() > 20, "{src}: {places:?}");
        places.retain(|_, files| files.len() > 1);
        assert!(places.is_empty(), "one name for several types: {places:#?}");
    }
}

/// Cargo refuses a manifest whose targets are not there, and images are built from what
/// `.dockerignore` lets in.
#[test]
fn manifest_targets_are_in_the_images() {
    let rules = fs::read_to_string(root().join(".dockerignore")).expect(".dockerignore");
    let lets_in = |path: &str| {
        rules.lines().filter_map(|rule| rule.strip_prefix('!')).any(|rule| path.starts_with(rule))
    };
    for folder in ["", "limit/", "auth/", "migrate/", "test-support/"] {
        let manifest =
            fs::read_to_string(root().join(format!("{folder}Cargo.toml"))).expect("a manifest");
        let benches = manifest.split("[[bench]]").skip(1).filter_map(|rest| rest.split('"').nth(1));
        let paths: Vec<_> = benches.map(|name| format!("{folder}benches/{name}.rs")).collect();
        for path in paths
            .iter()
            .map(String::as_str)
            .chain([&*format!("{folder}Cargo.toml"), &*format!("{folder}src/lib.rs")])
        {
            assert!(lets_in(path) && root().join(path).exists(), "{path}");
        }
    }
}

/// Everything in backquotes of a document that looks like a path of this repository.
fn paths_in(document: &str) -> Vec<String> {
    let looks_like_path = |word: &&str| {
        let known_root = [
            "src/",
            "tests/",
            "docs/",
            "scripts/",
            "config/",
            "benches/",
            "examples/",
            "fuzz/",
            "auth/",
            "migrate/",
            "limit/",
            "test-support/",
            ".ci/",
        ];
        known_root.iter().any(|root| word.starts_with(root))
            && !word.contains(['*', ' ', '{', '<'])
            && !word.contains("NAME")
    };
    document.split('`').skip(1).step_by(2).filter(looks_like_path).map(str::to_owned).collect()
}

#[test]
fn every_path_that_is_written_down_exists() {
    for name in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"] {
        let document = fs::read_to_string(root().join(name)).expect(name);
        let paths = paths_in(&document);
        assert!(
            name != "ARCHITECTURE.md" || paths.len() > 20,
            "{name} names only {} paths",
            paths.len()
        );
        for path in paths {
            assert!(root().join(&path).exists(), "{name} names `{path}`");
        }
    }
}

#[test]
fn every_module_is_on_the_map() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let others = AUTH_FLOORS.iter().chain(&MIGRATE_FLOORS);
    for (module, floor) in others.filter(|(module, _)| !["main", "lib"].contains(module)) {
        let on_its_floor = map.lines().any(|line| {
            line.starts_with(&format!("| {floor} |")) && line.contains(&format!("`{module}`"))
        });
        assert!(
            on_its_floor,
            "ARCHITECTURE.md does not name `{module}` of auth or migrate on floor {floor}"
        );
    }
    for (module, floor) in FLOORS.iter().filter(|(module, _)| *module != "lib") {
        let place = match *module {
            "main" => "`src/main.rs`".to_owned(),
            "limit" => "`limit/src/`".to_owned(),
            module => format!("`src/{module}/`"),
        };
        let on_its_floor = map
            .lines()
            .any(|line| line.starts_with(&format!("| {floor} |")) && line.contains(&place));
        assert!(on_its_floor, "ARCHITECTURE.md does not name {place} on floor {floor}");
    }
}

fn is_of_a_field(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte == b'_'
}

#[test]
fn every_field_of_an_access_line_is_documented() {
    let entry = fs::read_to_string(root().join("src/log/entry.rs")).expect("the access line");
    let docs =
        fs::read_to_string(root().join("docs/reference/logs.md")).expect("docs/reference/logs.md");
    // `line.text("route", route)` writes the field `route`.
    let calls = ["line.", "object."].into_iter().flat_map(|object| entry.split(object).skip(1));
    let fields = calls.filter_map(|call| call.split_once("(\"")?.1.split('"').next());
    let fields: Vec<_> = fields.filter(|name| name.bytes().all(is_of_a_field)).collect();
    assert!(fields.len() > 25, "{fields:?}");
    for field in fields {
        assert!(
            docs.contains(&format!("`{field}`")),
            "docs/reference/logs.md does not name `{field}`"
        );
    }
}

#[test]
fn every_setting_and_every_metric_of_auth_is_documented() {
    let docs = fs::read_to_string(root().join("docs/auth.md")).expect("docs/auth.md");
    let sources = sources_below("auth/src");
    let text = |wanted: &str| {
        sources.iter().find(|(name, _)| name == wanted).expect("a file of auth").1.as_str()
    };
    let is_variable =
        |word: &&str| word.len() > 3 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let quoted = text("settings.rs").split('"').skip(1).step_by(2);
    let settings: Vec<_> = quoted.filter(is_variable).map(str::to_owned).collect();
    let registered = text("metrics.rs")
        .split("registry.register(")
        .skip(1)
        .filter_map(|rest| rest.split('"').nth(1));
    let metrics: Vec<_> = registered.map(|name| format!("auth_{name}")).collect();
    assert!(settings.len() > 10 && metrics.len() > 5, "{settings:?} {metrics:?}");
    for word in settings.iter().chain(&metrics) {
        assert!(docs.contains(&format!("`{word}")), "docs/auth.md does not name `{word}`");
    }
}

#[test]
fn every_exit_code_is_documented() {
    let cli = fs::read_to_string(root().join("src/cli/outcome.rs")).expect("src/cli/outcome.rs");
    let docs = fs::read_to_string(root().join("docs/reference/commands.md"))
        .expect("docs/reference/commands.md");
    let outcomes = cli
        .split("pub enum Outcome {")
        .nth(1)
        .and_then(|rest| rest.split('}').next())
        .expect("the outcomes");
    let codes: Vec<_> = outcomes
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "))
        .collect();
    assert!(codes.len() >= 6);
    for (name, code) in codes {
        assert!(
            docs.contains(&format!("| {code} |")),
            "docs/reference/commands.md does not name exit code {code} ({name})"
        );
    }
}

/// The Markdown pages an operator or a contributor reads, as paths below the root.
fn pages() -> Vec<String> {
    let below = files_below(&root().join("docs"), ".md");
    let docs = below
        .iter()
        .map(|path| path.strip_prefix(root()).expect("below the root").display().to_string());
    let at_the_root = fs::read_dir(root()).expect("the root").filter_map(Result::ok);
    let at_the_root = at_the_root.map(|entry| entry.file_name().to_string_lossy().into_owned());
    docs.chain(at_the_root.filter(|name| name.ends_with(".md"))).collect()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Targets of a page's relative links, code blocks left out.
fn links_in(page: &str) -> Vec<String> {
    let outside_code = page.split("```").step_by(2).collect::<String>();
    let targets = outside_code.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// Anchors of a page's headings, as GitHub makes them.
fn anchors_in(page: &str) -> BTreeSet<String> {
    let kept = |c: &char| c.is_alphanumeric() || ['-', '_', ' '].contains(c);
    let headings = page
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|text| text.chars().filter(kept).collect::<String>().to_lowercase().replace(' ', "-"))
        .collect()
}

#[test]
fn links_of_every_page_lead_somewhere() {
    for name in pages() {
        for link in links_in(&page(&name)) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = root().join(&name).parent().expect("a folder").to_owned();
            let target = if file.is_empty() { root().join(&name) } else { folder.join(file) };
            assert!(target.exists(), "{name} links to `{link}`: no such file");
            let text = if anchor.is_empty() { None } else { fs::read_to_string(&target).ok() };
            let exists = text.is_none_or(|text| anchors_in(&text).contains(anchor));
            assert!(exists, "{name} links to `{link}`: no such heading");
        }
    }
}

/// Lines of a page outside of code blocks, with inline code left out, and their numbers.
fn prose_of(page: &str) -> Vec<(usize, String)> {
    let (mut is_code, mut found) = (false, Vec::new());
    for (number, line) in page.lines().enumerate() {
        is_code ^= line.trim_start().starts_with("```");
        if !is_code && !line.trim_start().starts_with("```") {
            found.push((number + 1, line.split('`').step_by(2).collect::<Vec<_>>().join("`")));
        }
    }
    found
}

/// Words with a plain technical counterpart, like `answer` (response), `told` (logged, reported,
/// sent), `at once` (immediately, or at the same time).
const FOREIGN_WORDS: [&str; 15] = [
    "answer",
    "answers",
    "answered",
    "answering",
    "told",
    "tells",
    "whom",
    "whoever",
    "nobody",
    "anew",
    "at once",
    "be had",
    "let go",
    "come again",
    "under way",
];

/// Foreign words of a line of prose, as whole words in any case.
fn foreign_words_in(line: &str) -> impl Iterator<Item = &'static str> {
    let plain = line.to_lowercase().replace(|c: char| !c.is_alphabetic(), " ");
    let plain = format!(" {} ", plain.split_whitespace().collect::<Vec<_>>().join(" "));
    FOREIGN_WORDS.into_iter().filter(move |word| plain.contains(&format!(" {word} ")))
}

#[test]
fn pages_use_plain_words() {
    for name in pages() {
        let mut found = Vec::new();
        for (number, line) in prose_of(&page(&name)) {
            let here = foreign_words_in(&line);
            found.extend(here.map(|word| format!("{name}:{number}: `{word}`")));
        }
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// Comment lines of a source file, without the slashes.
fn comments_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let comment = line.trim_start().strip_prefix("//")?;
        Some((at + 1, comment.trim_start_matches(['/', '!']).trim()))
    })
}

#[test]
fn comments_use_plain_words() {
    // What stands in backticks is code.
    let mut found = Vec::new();
    for (name, text) in all_sources() {
        for (number, line) in comments_of(&text) {
            let outside_code = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
            let here = foreign_words_in(&outside_code);
            found.extend(here.map(|word| format!("{name}:{number}: `{word}`")));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// A doc comment names its subject or says what the item does (rustdoc shows its first line in
/// lists): at most 5 in 100 begin with a question word.
#[test]
fn doc_comments_begin_with_a_noun_or_a_verb() {
    let questions = ["What", "How", "Whether", "Where", "Why", "Who", "Whom"];
    let (mut blocks, mut asking) = (0, Vec::new());
    for (name, text) in all_sources() {
        let mut before = "";
        for (at, line) in text.lines().enumerate() {
            let is_doc = |line: &str| line.trim_start().starts_with("///");
            if is_doc(line) && !is_doc(before) {
                blocks += 1;
                let first = line.split_whitespace().nth(1).unwrap_or_default();
                if questions.contains(&first) {
                    asking.push(format!("{name}:{}", at + 1));
                }
            }
            before = line;
        }
    }
    assert!(blocks > 3_000, "{blocks} doc comments");
    assert!(asking.len() * 20 <= blocks, "{} of {blocks}: {asking:#?}", asking.len());
}

/// Code says why it is as it is: at least 4 comment lines inside 100 lines of code, as well-kept
/// crates of this field have. `scripts/language.py` prints the measure.
#[test]
fn code_has_comments_that_say_why() {
    let (mut inner, mut code) = (0, 0);
    for (_, text) in all_sources() {
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in product.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            if !line.starts_with("//") {
                code += 1;
            } else if !line.starts_with("///") && !line.starts_with("//!") {
                inner += 1;
            }
        }
    }
    assert!(code > 30_000, "{code} lines of code");
    assert!(inner * 25 >= code, "{inner} comment lines in {code} lines of code");
}

#[test]
fn pages_are_at_most_100_columns_wide() {
    for name in pages() {
        let text = page(&name);
        let numbers =
            prose_of(&text).into_iter().map(|(number, _)| number).collect::<BTreeSet<_>>();
        let is_wide = |line: &str| {
            line.chars().count() > 100 && !line.trim_start().starts_with(['|', '[', '!'])
        };
        let wide = text.lines().enumerate().map(|(at, line)| (at + 1, line));
        let wide: Vec<_> =
            wide.filter(|(number, line)| numbers.contains(number) && is_wide(line)).collect();
        assert!(wide.is_empty(), "{name}: {} lines, first {:#?}", wide.len(), wide.first());
    }
}

/// A page that leads from a status to its cause has every kind of error, and the section every
/// reason of a reject.
#[test]
fn troubleshooting_has_every_kind_and_every_reason() {
    let troubleshooting = page("docs/troubleshooting.md");
    let words = |file_with: &str| {
        let (_, text) = all_sources()
            .find(|(_, text)| text.contains(file_with))
            .expect("a file with these words");
        let quoted = text
            .split("=> \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next().map(str::to_owned));
        quoted
            .filter(|word| word.contains('_') || word == "burst" || word == "draining")
            .collect::<Vec<_>>()
    };
    let kinds = words("=> \"proxy_loop_detected\"");
    let reasons = words("=> \"max_wait\"");
    assert!(kinds.len() > 15 && reasons.len() > 4, "{kinds:?} {reasons:?}");
    for word in kinds.iter().chain(&reasons) {
        assert!(
            troubleshooting.contains(&format!("`{word}`")),
            "docs/troubleshooting.md does not name `{word}`"
        );
    }
}

#[test]
fn examples_are_linked_by_a_page() {
    let all: String = pages().iter().map(|name| page(name)).collect();
    let examples = root().join("config/examples");
    for path in files_below(&examples, ".yaml") {
        let name = path.strip_prefix(&examples).expect("below").display();
        assert!(all.contains(&format!("config/examples/{name})")), "no page links {name}");
    }
}

/// The page of guarantees names the tests that hold them.
#[test]
fn tests_named_by_the_page_of_limits_exist() {
    let limits = page("docs/limits.md");
    let is_test = |word: &&str| word.matches('_').count() > 3 && !word.contains(['/', ' ', '`']);
    let named: Vec<_> = limits.split('`').skip(1).step_by(2).filter(is_test).collect();
    let folders = ["tests", "limit/tests"].map(|folder| files_below(&root().join(folder), ".rs"));
    let sources: String =
        folders.iter().flatten().filter_map(|path| fs::read_to_string(path).ok()).collect();
    assert!(named.len() > 2, "{named:?}");
    for name in named {
        assert!(
            sources.contains(&format!("fn {name}(")),
            "docs/limits.md names `{name}`: no such test"
        );
    }
}

/// Parts that did not run are named at the end, whether a part failed or was left out.
#[test]
fn test_script_names_parts_that_did_not_run() {
    use std::{os::unix::fs::PermissionsExt, process::Command};
    let stubs = std::env::temp_dir().join(format!("weir-stubs-{}", std::process::id()));
    fs::create_dir_all(&stubs).expect("a folder");
    for name in ["cargo", "apt-get", "sudo"] {
        fs::write(stubs.join(name), "#!/bin/sh\nexit ${STUB_CODE:-0}\n").expect("a file");
        fs::set_permissions(stubs.join(name), fs::Permissions::from_mode(0o755))
            .expect("a file of this test");
    }
    let path = format!("{}:{}", stubs.display(), std::env::var("PATH").expect("a PATH"));
    let run = |arguments: &[&str], code: &str| {
        let mut command = Command::new(root().join("scripts/test.sh"));
        command.args(arguments).env("PATH", &path).env("STACK", "0").env("STUB_CODE", code);
        let output = command.output().expect("bash is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text.lines().last().unwrap_or_default().to_owned())
    };
    assert_eq!(
        run(&[], "0"),
        (Some(0), "passed: format lints tests documentation; NOT RUN: stack".to_owned())
    );
    assert_eq!(run(&["--fast"], "0"), (Some(0), "all passed: format lints fast".to_owned()));
    let failed = "FAILED: format; passed: nothing; NOT RUN: lints tests documentation stack";
    assert_eq!(run(&[], "101"), (Some(101), failed.to_owned()));
    fs::remove_dir_all(&stubs).expect("a folder of this test");
}

#[test]
fn index_of_docs_links_every_page() {
    let index = page("docs/README.md");
    let linked: Vec<_> = links_in(&index).iter().map(|link| format!("docs/{link}")).collect();
    for name in pages().iter().filter(|name| name.starts_with("docs/") && *name != "docs/README.md")
    {
        assert!(linked.contains(name), "docs/README.md does not link {name}");
    }
}

#[test]
fn project_stands_alone() {
    let tracked = [
        root().join("src"),
        root().join("limit"),
        root().join("tests"),
        root().join("test-support"),
        root().join("config"),
        root().join("docs"),
        root().join("scripts"),
    ];
    for path in tracked.iter().flat_map(|folder| files_below(folder, "")) {
        let text = String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned();
        for foreign in [concat!("..", "/shared"), concat!("/wo", "rk/"), concat!("/fa", "rm/")] {
            assert!(!text.contains(foreign), "{} mentions {foreign}", path.display());
        }
    }
}
