//! The `sockeye` command: `demo`, `serve`, `connect`, `script`.

mod args;
mod connect;
mod counted;
mod demo;
mod ended;
mod failure;
mod link;
mod out;
mod script;
mod serve;
mod stop;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use out::{Out, Stream};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (outcome, json) = match &cli.command {
        Command::Demo(args) => (demo::run(args), args.json.then_some(Stream::Stdout)),
        Command::Serve(args) => (serve::run(args), args.link.json.then_some(Stream::Stdout)),
        Command::Script(args) => return script::script(args),
        Command::Connect(args) => (connect::run(args), args.link.json.then_some(Stream::Stderr)),
    };
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    if !failure.is_quiet() {
        match json {
            Some(stream) => Out::new(stream, true).record(&failure.to_json()),
            None => Out::new(Stream::Stderr, false).say(&failure.to_string()),
        }
    }
    failure.code().into()
}
