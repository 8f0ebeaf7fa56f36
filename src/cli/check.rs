//! `weir check`: reports every error of a configuration, or what it will serve.

use std::path::PathBuf;

use serde_json::json;

use super::{
    arguments::ConfigArgs,
    outcome::{Outcome, print, print_problems, some},
};
use crate::{
    config::{self, Config, Loaded, Problems, problem::Severity},
    downstream::settings::ListenerSettings,
    proxy::action::Action,
};

/// Memory of one key of a zone in a running process, in bytes (docs/limits.md, Memory).
const KEY_BYTES: usize = 32;

/// Find everything that is wrong with a configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    which: ConfigArgs,
    /// The configuration file, as with --config
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Checks the configuration; exits 3 when it cannot be used.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        self.which.config = self.which.config.or(self.file);
        let path = self.which.path();
        let result = config::load(&path, &self.which.sets);
        let (problems, loaded) = match &result {
            Ok(loaded) => (&loaded.warnings, Some(loaded)),
            Err(problems) => (problems, None),
        };
        let said = if self.json {
            print(&format!("{:#}\n", report(problems, loaded)))
        } else {
            print_problems(problems);
            loaded.map_or(Outcome::Fine, |loaded| {
                print(&summary(&path.display().to_string(), loaded))
            })
        };
        // An unusable configuration decides the exit code, whatever became of the output.
        if loaded.is_some() { said } else { Outcome::Invalid }
    }
}

/// Describes what a configuration will serve, for people.
#[must_use]
fn summary(name: &str, loaded: &Loaded) -> String {
    let config = &loaded.config;
    let warnings = match loaded.warnings.warnings() {
        0 => String::new(),
        count => format!(", {}", some(count, "warning")),
    };
    let mut text = format!("{name} is valid{warnings}\n");
    let listeners: Vec<String> = config.listeners.iter().map(listener).collect();
    text += &format!("listeners  {}\n", listeners.join(", "));
    for (index, route) in config.routes.iter().enumerate() {
        let action = match &route.action {
            Action::Forward(index) => config.upstreams[*index].name.to_string(),
            Action::Redirect(redirect) => format!("redirects, {}", redirect.status.as_u16()),
            Action::Respond(respond) => format!("responds, {}", respond.status.as_u16()),
            Action::Files(files) => format!("files of {}", files.root.display()),
            Action::Close => "closes".to_owned(),
        };
        let zones: Vec<&str> =
            route.limits.iter().map(|rule| &*config.zones[rule.zone].name).collect();
        let limits = if zones.is_empty() {
            "no limit".to_owned()
        } else {
            format!("limited by {}", zones.join(", "))
        };
        let condition = if route.condition.is_some() { " if `match` holds" } else { "" };
        let name = loaded.route_as_written(index);
        text += &format!("route      {name}{condition} -> {action}, {limits}\n");
    }
    for zone in &config.zones {
        let parts: Vec<String> = zone.key.parts.iter().map(ToString::to_string).collect();
        let parts = parts.join(" and ");
        let memory = human(zone.capacity * KEY_BYTES);
        let (name, rate, keys) = (&zone.name, zone.rate, zone.capacity);
        text += &format!("zone       {name}: {rate} by {parts}, up to {keys} keys and {memory}\n");
    }
    // With one zone the sum would repeat its line.
    if let [_, _, ..] = config.zones.as_slice() {
        text += &format!("memory     up to {} for the keys of all zones\n", human(memory(config)));
    }
    text
}

/// Memory of the keys of all zones when every zone is full, in bytes.
fn memory(config: &Config) -> usize {
    config.zones.iter().map(|zone| zone.capacity * KEY_BYTES).sum()
}

fn listener(settings: &ListenerSettings) -> String {
    let address: Vec<String> = settings.addresses().map(|address| address.to_string()).collect();
    let address = address.join(" and ");
    match settings {
        ListenerSettings { tls: Some(_), .. } => format!("{address} (tls)"),
        ListenerSettings { redirect: Some(port), .. } => {
            format!("{address} (redirects to https, port {port})")
        }
        _ => address,
    }
}

/// Formats a size, rounded down to whole units.
fn human(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Reports problems and configuration as JSON.
fn report(problems: &Problems, loaded: Option<&Loaded>) -> serde_json::Value {
    let list: Vec<_> = problems
        .iter()
        .map(|problem| {
            let (file, line, column) = problems.place(problem);
            let severity = if problem.severity == Severity::Error { "error" } else { "warning" };
            let (message, hint) = (&problem.message, &problem.hint);
            json!({ "severity": severity, "file": file, "line": line, "column": column, "message": message, "hint": hint })
        })
        .collect();
    let zones =
        loaded.map(|loaded| loaded.config.zones.iter().map(|zone| (&*zone.name, zone.capacity)));
    let bytes = loaded.map(|loaded| memory(&loaded.config));
    let (errors, warnings) = (problems.errors(), problems.warnings());
    let zones: Vec<_> = zones
        .into_iter()
        .flatten()
        .map(|(name, keys)| json!({ "name": name, "capacity": keys, "bytes": keys * KEY_BYTES }))
        .collect();
    json!({
        "valid": loaded.is_some(),
        "errors": errors,
        "warnings": warnings,
        "problems": list,
        "zones": zones,
        "zones_bytes": bytes,
    })
}
