//! The `sockeye` command: `demo`, `run`, `serve`, `connect`, `script`, `bench`, `conformance`.

mod args;
mod bench;
mod conformance;
mod connect;
mod counted;
mod demo;
mod ended;
mod failure;
mod link;
mod out;
mod run;
mod script;
mod serve;
mod stop;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use out::{Out, Stream};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let (outcome, json) = match &cli.command {
        Command::Demo(args) => (demo::run(args), args.json.then_some(Stream::Stdout)),
        Command::Serve(args) => (serve::run(args), args.link.json.then_some(Stream::Stdout)),
        Command::Script(args) => return script::script(args),
        Command::Bench(args) => (bench::run(args), args.is_json().then_some(Stream::Stdout)),
        Command::Conformance(args) => (conformance::run(args), args.json.then_some(Stream::Stdout)),
        Command::Run(args) => return run::run(args).into(),
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

/// Arguments that make no sense, or a wish for the manual. Under `run` the codes below 125 are the program's.
fn misused(error: &clap::Error) -> ExitCode {
    // Who does not read what is printed does not need it.
    let _ = error.print();
    let is_run = std::env::args_os().nth(1).is_some_and(|command| command == "run");
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if is_run => run::FAILED.into(),
        code => ExitCode::from(u8::try_from(code).unwrap_or(1)),
    }
}
