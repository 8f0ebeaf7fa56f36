//! `weir import`: makes a weir.yaml of another server's configuration.

use std::{
    io::{self, Write},
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use super::{
    arguments::with_hint,
    outcome::{Outcome, print, print_problems, report_hinted, some},
};
use crate::{
    config::directives::Treatment,
    runtime::hint::{HintedError, hinted},
    tools::{
        burst::BurstTarget,
        import::{
            files::{self, Disk},
            import,
            notes::DirectiveNote,
            plan::ImportPlan,
            verify::{ServerPair, verify},
        },
        ingress,
    },
};

/// Make a weir.yaml of another server's configuration
#[derive(Clone, Debug, clap::Args)]
pub struct ImportCommand {
    #[command(subcommand)]
    source: Source,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Source {
    /// Print the weir.yaml for files of nginx, and what became of each directive
    ///
    /// The YAML goes to standard output, with the file and line of each entry and a comment where
    /// something changed. Standard error has one line for each directive: `carried` by a key,
    /// `noted` where a key or weir itself does nearly the same, `dropped` because weir does it anyway
    /// or needs it not, `unsupported` without a counterpart. A path that weir cannot serve as nginx
    /// does is closed (502).
    ///
    /// Exit codes: 0 fine, 1 a file cannot be read or parsed, a server cannot be asked, or with
    /// --strict a directive has no counterpart, 10 --verify found a difference.
    Nginx(NginxImport),
    /// Print the weir.yaml for Ingress objects of Kubernetes, as ingress-nginx serves them
    ///
    /// Files have Ingress objects, and Services for the numbers of named ports; other objects are
    /// left out. `kubectl get ingress,service -A -o yaml` writes all of a cluster. The YAML goes to
    /// standard output, and a line for each path and annotation to standard error, in the same
    /// words. A path that weir cannot serve as ingress-nginx does is closed (502).
    ///
    /// Exit codes: 0 fine, 1 a file cannot be read or parsed, or with --strict something has no
    /// counterpart.
    Ingress(IngressImport),
}

/// Options of `weir import ingress`.
#[derive(Clone, Debug, clap::Args)]
struct IngressImport {
    /// Files with Ingress objects
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Exit with 1 when an annotation or a path has no counterpart
    #[arg(long)]
    strict: bool,
}

/// Options of `weir import nginx`.
#[derive(Clone, Debug, clap::Args)]
struct NginxImport {
    /// Files of nginx: nginx.conf, or parts of it without `http`; what they include is read too
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Exit with 1 when a directive has no counterpart
    #[arg(long)]
    strict: bool,
    /// Fire requests derived from the files at an nginx and a weir, and print what differs instead
    ///
    /// Both are base URLs of plain HTTP, like http://127.0.0.1:8080. The hosts and locations of the
    /// files are asked for in several spellings with GET, HEAD and OPTIONS, with other methods where
    /// the files name some, and limits get a burst each. Exit code 10: something differs that the
    /// weir.yaml does not list.
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"],
          value_parser = with_hint(str::parse::<BurstTarget>))]
    verify: Option<Vec<BurstTarget>>,
}

impl ImportCommand {
    /// Prints the configuration, and its notes on standard error.
    #[must_use]
    pub fn run(self) -> Outcome {
        match self.source {
            Source::Nginx(nginx) => nginx.run(),
            Source::Ingress(ingress) => ingress.run(),
        }
    }
}

impl NginxImport {
    fn run(self) -> Outcome {
        let files = match files::read(&Disk, &self.files) {
            Ok(files) => files,
            Err(error) => return report_hinted(&error, Outcome::Failed),
        };
        let imported = import(&files);
        if let Some([old, new]) = self.verify.as_deref() {
            return verified(&imported.plan, old, new);
        }
        printed(&imported.yaml, &imported.notes, self.strict, "directive")
    }
}

impl IngressImport {
    fn run(self) -> Outcome {
        match ingress::import(&self.files) {
            Ok(imported) => printed(&imported.yaml, &imported.notes, self.strict, "line"),
            Err(problems) => {
                print_problems(&problems);
                Outcome::Failed
            }
        }
    }
}

/// Prints what was imported, and its notes on standard error.
fn printed(yaml: &str, notes: &[DirectiveNote], is_strict: bool, what: &str) -> Outcome {
    let lines: String = notes.iter().map(|note| format!("{note}\n")).collect();
    // A failure to write to standard error cannot be reported anywhere.
    let _ = writeln!(io::stderr().lock(), "{lines}{}", summary(notes, what));
    let is_lossy = notes.iter().any(|note| note.treatment == Treatment::Unsupported);
    match print(yaml) {
        Outcome::Fine if is_strict && is_lossy => Outcome::Failed,
        outcome => outcome,
    }
}

/// Prints what differs between two servers.
fn verified(plan: &ImportPlan, old: &BurstTarget, new: &BurstTarget) -> Outcome {
    let servers = match (address(old), address(new)) {
        (Ok(old), Ok(new)) => ServerPair { old, new },
        (Err(error), _) | (_, Err(error)) => return report_hinted(&error, Outcome::Failed),
    };
    let report = match verify(plan, servers) {
        Ok(report) => report,
        Err(error) => return report_hinted(&error, Outcome::Failed),
    };
    let differences = report.differences.iter().map(|one| format!("{one}\n"));
    let skipped = report.skipped.iter().map(|one| format!("skipped: {one}\n"));
    let unexpected = report.unexpected().count();
    let line = format!(
        "{}, {}: {unexpected} different, {} expected\n",
        some(report.probes, "request"),
        some(report.limits, "limit"),
        report.differences.len() - unexpected
    );
    match print(&differences.chain(skipped).chain([line]).collect::<String>()) {
        Outcome::Fine if unexpected > 0 => Outcome::Unexpected,
        outcome => outcome,
    }
}

fn address(target: &BurstTarget) -> Result<SocketAddr, HintedError> {
    let failed = |error: io::Error| {
        hinted(format!("cannot find `{}`: {error}", target.host), "check the spelling")
    };
    let mut addresses =
        (target.host.as_str(), target.port).to_socket_addrs().map_err(failed)?.collect::<Vec<_>>();
    // A server on `localhost` is more often on 127.0.0.1 than on ::1.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.first().copied().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

/// Counts of the outcomes.
fn summary(notes: &[DirectiveNote], what: &str) -> String {
    let treatments =
        [Treatment::Carried, Treatment::Noted, Treatment::Dropped, Treatment::Unsupported];
    let counts = treatments.map(|treatment| {
        let count = notes.iter().filter(|note| note.treatment == treatment).count();
        format!("{count} {}", treatment.word())
    });
    format!("{}: {}", some(notes.len(), what), counts.join(", "))
}
