//! Verification of an import: the same requests to the nginx that is there and to the weir that takes
//! its place, and what differs.
//!
//! [`probes`] are derived from the plan of the import, [`client`] sends one, [`mod@compare`] says
//! what differs, and [`bursts`] compares the verdicts of limits. Differences that the import itself
//! lists are reported apart.

pub mod bursts;
pub mod client;
pub mod clients;
pub mod compare;
pub mod probes;
pub mod report;
pub mod samples;

use clients::Clients;
pub use clients::ServerPair;
use report::{VerifyError, VerifyReport};

use super::plan::ImportPlan;

/// Sends all probes to both servers.
///
/// # Errors
/// When a server does not take connections.
pub fn verify(plan: &ImportPlan, servers: ServerPair) -> Result<VerifyReport, VerifyError> {
    let mut clients = Clients::of(servers);
    let mut report = VerifyReport::default();
    for probe in probes::probes(plan) {
        // A client of its own for each: a limit by address would reject the later ones.
        let mut ask = |server| {
            client::ask(server, clients.next_source(), &probe)
                .map_err(|error| VerifyError::Unreachable(server, error.to_string()))
        };
        let (old, again) = (ask(servers.old)?, ask(servers.old)?);
        let new = ask(servers.new)?;
        report.probes += 1;
        report.differences.extend(compare::compare(&probe, [&old, &again], &new));
    }
    for burst in bursts::bursts(plan) {
        match burst.skipped() {
            Some(reason) => report.skipped.push(reason),
            None => {
                report.limits += 1;
                report.differences.extend(burst.compare(servers, &mut clients)?);
            }
        }
    }
    Ok(report)
}
