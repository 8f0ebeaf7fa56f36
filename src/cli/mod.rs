//! Command line: one file per subcommand.

use clap::{CommandFactory, Parser, Subcommand};

pub mod arguments;
pub mod bench;
pub mod check;
pub mod config;
pub mod demo;
pub mod diagnostics;
pub mod healthcheck;
pub mod import;
pub mod manual;
pub mod outcome;
pub mod proxy;
pub mod reload;
pub mod run;

pub use outcome::Outcome;

/// A reverse proxy with a rate limiter built in.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve in the foreground
    Run(run::RunCommand),
    /// Serve a sample upstream behind two limits, with a page that fires bursts
    Demo(demo::Demo),
    /// Serve one upstream without a configuration file
    Proxy(proxy::ProxyCommand),
    /// Find everything that is wrong with a configuration.
    Check(check::Check),
    /// Show the configuration as used, or its schema.
    Config(config::ConfigCommand),
    /// Measure a server from outside
    Bench(bench::BenchArgs),
    /// Make a weir.yaml of another server's configuration
    Import(import::ImportCommand),
    /// Make the running proxy load its configuration again
    Reload(reload::Reload),
    /// Ask the running proxy whether it serves
    Healthcheck(healthcheck::Healthcheck),
    /// Print the completions of a shell
    Completions(manual::Completions),
    /// Print the manual page, in roff, or write one for each command
    Man(manual::Man),
    /// Print the version
    Version,
}

impl Cli {
    /// Runs the command.
    #[must_use]
    pub fn run(self) -> Outcome {
        match self.command {
            Command::Run(run) => run.run(),
            Command::Demo(demo) => demo.run(),
            Command::Proxy(proxy) => proxy.run(),
            Command::Check(check) => check.run(),
            Command::Config(config) => config.run(),
            Command::Bench(bench) => bench.run(),
            Command::Import(import) => import.run(),
            Command::Reload(reload) => reload.run(),
            Command::Healthcheck(healthcheck) => healthcheck.run(),
            Command::Completions(completions) => completions.run(Self::command()),
            Command::Man(man) => man.run(Self::command()),
            Command::Version => manual::version(),
        }
    }
}
