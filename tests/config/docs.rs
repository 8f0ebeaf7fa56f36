//! Code blocks of the pages: configurations load, command lines parse.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, Parser};
use serde_json::Value;
use weir::{
    cli::Cli,
    config::{
        self,
        directives::{Context, DIRECTIVES, DirectiveRow, Treatment},
    },
    limit::Part,
};

/// README.md and every page below `docs`.
fn pages() -> Vec<PathBuf> {
    let (mut found, mut folders) = (vec![PathBuf::from("README.md")], vec![PathBuf::from("docs")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of this repository") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// Code blocks of one language in a page, without their indentation in a list.
fn blocks(page: &Path, language: &str) -> Vec<String> {
    let text = fs::read_to_string(page).expect("a page");
    let (mut found, mut block, mut indent) = (Vec::new(), None::<String>, 0);
    for line in text.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, &mut block) {
            (Some(""), Some(_)) => found.extend(block.take()),
            (Some(named), None) if named == language => {
                indent = line.len() - line.trim_start().len();
                block = Some(String::new());
            }
            (_, Some(text)) => *text += &format!("{}\n", line.get(indent..).unwrap_or_default()),
            _ => {}
        }
    }
    found
}

/// A whole configuration made of a fragment: what it leaves out is filled in.
fn completed(fragment: &str) -> String {
    let names_key = |key: &str| fragment.lines().any(|line| line.starts_with(&format!("{key}:")));
    let mut whole = fragment
        .replace("fullchain.pem", "tests/certificates/a.pem")
        .replace("privkey.pem", "tests/certificates/a.key");
    if ["request", "response", "limits"].iter().any(|key| names_key(key)) {
        let indented: String = whole.lines().map(|line| format!("    {line}\n")).collect();
        whole = format!("routes:\n  - path: /\n    upstream: http://a:1\n{indented}");
    } else if !names_key("routes") {
        whole += "routes: [ { path: /, upstream: \"http://a:1\" } ]\n";
    }
    if !names_key("listeners") {
        whole += "listeners: [ \":8080\" ]\n";
    }
    if !names_key("zones") {
        let zones =
            fragment.split("zone: ").skip(1).filter_map(|rest| rest.split([',', ' ', '}']).next());
        let zones: Vec<_> =
            zones.map(|name| format!("{name}: {{ key: client_ip, rate: 1r/s }}")).collect();
        whole += &format!("zones: {{ {} }}\n", zones.join(", "));
    }
    whole
}

#[test]
fn configurations_in_pages_load() {
    let mut count = 0;
    for page in pages() {
        // A compose file is no configuration of weir.
        for block in blocks(&page, "yaml").iter().filter(|block| !block.starts_with("services:")) {
            let whole = completed(block);
            if let Err(problems) = config::parse("config/examples/page.yaml", &whole, &[]) {
                panic!("{}: {problems}\n{whole}", page.display());
            }
            count += 1;
        }
    }
    assert!(count >= 15, "{count}");
}

/// What the stack's test runs in containers.
#[test]
fn move_of_a_compose_file_is_on_the_page_word_for_word() {
    let page = Path::new("docs/from-nginx.md");
    for (file, language) in
        [("nginx.conf", "nginx"), ("docker-compose.yml", "yaml"), ("weir.override.yml", "yaml")]
    {
        let path = format!("tests/import/compose_move/{file}");
        let text = fs::read_to_string(path).expect("a file of this repository");
        assert!(blocks(page, language).contains(&text), "{file} is not on the page");
    }
}

#[test]
fn command_lines_in_pages_parse() {
    let mut count = 0;
    for page in pages() {
        for block in blocks(&page, "bash") {
            for line in block.lines().filter(|line| line.starts_with("weir ")) {
                let command = line.split(" > ").next().unwrap_or(line).trim_end_matches(" &");
                let mut quoted = false;
                let words = command.split(|c: char| {
                    quoted ^= c == '\'';
                    c == ' ' && !quoted
                });
                let words: Vec<_> = words.map(|word| word.trim_matches('\'')).collect();
                if let Err(error) = Cli::try_parse_from(&words) {
                    panic!("{}: `{line}`: {error}", page.display());
                }
                count += 1;
            }
        }
    }
    assert!(count > 8, "{count}");
}

/// A schema with its reference followed; what stands beside the reference wins.
fn followed(schema: &Value, root: &Value) -> Value {
    let Some(name) =
        schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"))
    else {
        return schema.clone();
    };
    let mut whole = root["$defs"][name].clone();
    for (key, value) in schema.as_object().expect("a schema with a reference") {
        whole[key] = value.clone();
    }
    whole
}

/// Alternatives of a schema, without null.
fn alternatives(schema: &Value) -> Vec<Value> {
    let choices =
        schema["anyOf"].as_array().or(schema["oneOf"].as_array()).cloned().unwrap_or_default();
    choices.into_iter().filter(|choice| choice["type"] != "null").collect()
}

/// Type of a key's value, as the table of docs/config.md names it.
fn type_of(schema: &Value, root: &Value) -> String {
    let schema = followed(schema, root);
    if let Some(named) = schema["x-type"].as_str() {
        return named.to_owned();
    }
    if let Some(word) = schema["const"].as_str() {
        return format!("`{word}`");
    }
    let words = |values: &[Value]| {
        let words: Vec<_> =
            values.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
        words.join(", ")
    };
    let choices = alternatives(&schema);
    let constants: Vec<_> = choices
        .iter()
        .map(|choice| choice["const"].clone())
        .filter(|word| !word.is_null())
        .collect();
    match (&schema["type"], schema["enum"].as_array()) {
        (_, Some(values)) => words(values),
        _ if !constants.is_empty() && constants.len() == choices.len() => words(&constants),
        _ if !choices.is_empty() => {
            let types: Vec<_> = choices.iter().map(|choice| type_of(choice, root)).collect();
            types.join(" or ")
        }
        (Value::Array(types), _) => {
            named_type(types[0].as_str().unwrap_or_default(), &schema, root)
        }
        (one, _) => named_type(one.as_str().unwrap_or_default(), &schema, root),
    }
}

fn named_type(name: &str, schema: &Value, root: &Value) -> String {
    match name {
        "boolean" => "flag".to_owned(),
        "integer" => "number".to_owned(),
        "object" => "map".to_owned(),
        "array" => format!("list of {}", type_of(&schema["items"], root).replace("map", "maps")),
        _ => "text".to_owned(),
    }
}

/// Default of a key as the table shows it; maps of settings have theirs in their own rows.
fn default_of(schema: &Value, is_required: bool) -> String {
    match &schema["default"] {
        _ if is_required || schema["minItems"].as_u64().is_some_and(|least| least > 0) => {
            "*(required)*".to_owned()
        }
        Value::String(text) => format!("`{text}`"),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            format!("`[{}]`", items.join(", "))
        }
        Value::Object(entries)
            if entries.is_empty() && schema["additionalProperties"].is_object() =>
        {
            "`{}`".to_owned()
        }
        Value::Null | Value::Object(_) => String::new(),
        other => format!("`{other}`"),
    }
}

/// Rows of a key and of all keys below it.
fn rows(path: &str, schema: &Value, is_required: bool, root: &Value, found: &mut Vec<String>) {
    let whole = followed(schema, root);
    let description = whole["description"]
        .as_str()
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let (meaning, nginx) = match description.rsplit_once(" (nginx: ") {
        Some((meaning, rest)) if rest.ends_with(").") => {
            (format!("{meaning}."), rest.trim_end_matches(").").to_owned())
        }
        _ => (description, String::new()),
    };
    // The table of another key has what is below this one.
    let like = whole["x-like"].as_str();
    let kind = like.map_or_else(|| type_of(schema, root), |key| format!("as `{key}`"));
    let cells = [kind, default_of(&whole, is_required), meaning, nginx]
        .map(|cell| cell.replace('|', "\\|"));
    found.push(format!("| `{path}` | {} |", cells.join(" | ")).replace("  ", " "));
    if like.is_none() {
        below(path, &whole, root, found);
    }
}

fn below(path: &str, schema: &Value, root: &Value, found: &mut Vec<String>) {
    let schema = followed(schema, root);
    alternatives(&schema).iter().for_each(|choice| below(path, choice, root, found));
    if schema["items"].is_object() {
        below(&format!("{path}[]"), &schema["items"], root, found);
    }
    if schema["additionalProperties"].is_object() {
        below(&format!("{path}.NAME"), &schema["additionalProperties"], root, found);
    }
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        rows(&format!("{path}.{key}"), property, required.contains(&key.as_str()), root, found);
    }
}

/// The table of these top-level keys.
fn key_table(keys: &str, root: &Value) -> String {
    let mut found = vec![
        "| key | type | default | meaning | nginx |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for key in keys.split(", ") {
        let property = &root["properties"][key];
        assert!(property.is_object(), "there is no key `{key}`");
        rows(key, property, false, root, &mut found);
    }
    found.join("\n")
}

/// The tables between `<!-- keys: a, b -->` and `<!-- end -->` of docs/config.md come from the doc
/// comments of the schema. After a change run `UPDATE=1 cargo test --test config docs` once, read the
/// difference and commit it.
#[test]
fn key_tables_come_from_the_schema() {
    let root: Value = serde_json::from_str(&config::schema()).expect("a schema is JSON");
    let page = fs::read_to_string("docs/config.md").expect("a page");
    let (mut generated, mut rest) = (String::new(), page.as_str());
    while let Some((before, after)) = rest.split_once("<!-- keys: ") {
        let (keys, after) = after.split_once(" -->").expect("an end of the comment");
        let (_, after) = after.split_once("<!-- end -->").expect("an end of the table");
        generated +=
            &format!("{before}<!-- keys: {keys} -->\n\n{}\n\n<!-- end -->", key_table(keys, &root));
        rest = after;
    }
    generated += rest;
    if std::env::var_os("UPDATE").is_some() {
        return fs::write("docs/config.md", &generated).expect("a page of this repository");
    }
    let first = page.lines().zip(generated.lines()).find(|(page, generated)| page != generated);
    assert!(page == generated, "docs/config.md differs from the schema, first at: {first:#?}");
    assert!(generated.matches("| `").count() > 100);
}

/// Row of docs/from-nginx.md for a row of the importer's table.
fn directive_row(row: &DirectiveRow) -> String {
    let names: Vec<_> = row.all_names().map(|name| format!("`{name}`")).collect();
    let place = match row.contexts {
        [Context::Upstream] => " in `upstream`",
        [Context::Parameter] => " as a parameter",
        _ => "",
    };
    let key = match (row.key, row.on) {
        ("", _) => None,
        // A key with a text of its own around it.
        (key, on) if key.contains('`') => Some(format!("{key} on {on}")),
        (key, "") => Some(format!("`{key}`")),
        (key, on) => Some(format!("`{key}` on {on}")),
    };
    let weir = match (key, row.note, row.treatment) {
        (Some(key), "", _) => key,
        (Some(key), note, _) => format!("{key}; {note}"),
        (None, note, Treatment::Unsupported) => format!("none: {note}"),
        (None, note, _) => note.to_owned(),
    };
    let cells = [names.join(", ") + place, weir, row.treatment.word().to_owned()];
    format!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// The table between `<!-- directives -->` and `<!-- end -->` of docs/from-nginx.md comes from the
/// importer's table. After a change run `UPDATE=1 cargo test --test config docs` once, read the
/// difference and commit it.
#[test]
fn directive_table_of_the_page_comes_from_the_importer() {
    let page = fs::read_to_string("docs/from-nginx.md").expect("a page");
    let (before, rest) = page.split_once("<!-- directives -->").expect("a begin of the table");
    let (_, after) = rest.split_once("<!-- end -->").expect("an end of the table");
    let mut rows: Vec<&DirectiveRow> = DIRECTIVES.iter().collect();
    rows.sort_by_key(|row| row.names);
    let rows: Vec<String> = rows.into_iter().map(directive_row).collect();
    let table = format!("| nginx | weir | import |\n|---|---|---|\n{}", rows.join("\n"));
    let generated = format!("{before}<!-- directives -->\n\n{table}\n\n<!-- end -->{after}");
    if std::env::var_os("UPDATE").is_some() {
        return fs::write("docs/from-nginx.md", &generated).expect("a page of this repository");
    }
    let first = page.lines().zip(generated.lines()).find(|(page, generated)| page != generated);
    assert!(page == generated, "docs/from-nginx.md differs, first at: {first:#?}");
}

#[test]
fn directive_has_one_row_for_a_block() {
    let contexts =
        [Context::Main, Context::Http, Context::Server, Context::Location, Context::Upstream];
    for context in contexts {
        let mut seen = std::collections::BTreeSet::new();
        let rows = DIRECTIVES.iter().filter(|row| row.contexts.contains(&context));
        for name in rows.flat_map(DirectiveRow::all_names) {
            assert!(seen.insert(name), "`{name}` has two rows in {context:?}");
        }
    }
}

#[test]
fn key_parts_are_listed_in_the_page_of_limits() {
    let page = fs::read_to_string("docs/limits.md").expect("a page");
    let list = page.split("\nA key is ").nth(1).and_then(|rest| rest.split(", or a list").next());
    let list = list.expect("a sentence").replace(['`', '\n'], " ");
    let listed: Vec<&str> = list.split(',').map(str::trim).collect();
    assert_eq!(listed, Part::FORMS);
}

#[test]
fn commands_are_on_the_page_of_commands() {
    let page = fs::read_to_string("docs/reference/commands.md").expect("a page");
    let program = Cli::command();
    let names: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
    let missing: Vec<_> =
        names.iter().filter(|name| !page.contains(&format!("`weir {name}"))).collect();
    assert!(names.len() > 10 && missing.is_empty(), "without a row: {missing:?} of {names:?}");
}
