//! `bitquake doctor`.

use bitquake::engine::{RUNTIME_VERSION, Runtime};
use serde::Serialize;

use crate::exit::Failure;
use crate::output::{Output, table};

/// Check that everything needed is there.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    found: String,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let findings = [bitquake_itself(), processor(), runtime_file(), runtime_version()];
    if args.json {
        output.json(&findings)?;
    } else {
        let row = |finding: &Finding| {
            vec![
                if finding.ok { "ok" } else { "MISSING" }.to_owned(),
                finding.what.into(),
                finding.found.clone(),
            ]
        };
        output.data(&table(&["", "what", "found"], &[], findings.iter().map(row)))?;
    }
    match findings.iter().find(|finding| !finding.ok) {
        Some(missing) => Err(Failure::usage(format!("{}: {}", missing.what, missing.found))),
        None => Ok(()),
    }
}

fn bitquake_itself() -> Finding {
    let version = env!("CARGO_PKG_VERSION");
    let streams = bitquake::sample::STREAM_VERSION;
    Finding { what: "bitquake", ok: true, found: format!("{version}, random streams version {streams}") }
}

fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Finding { what: "processor", ok: true, found: format!("{}, {cores} threads", std::env::consts::ARCH) }
}

fn runtime_file() -> Finding {
    let (ok, found) = match Runtime::load() {
        Ok(runtime) => (true, runtime.path().display().to_string()),
        Err(error) => (false, error.to_string()),
    };
    Finding { what: "ONNX Runtime", ok, found }
}

fn runtime_version() -> Finding {
    let found = Runtime::load().map_or_else(|_| "unknown".into(), Runtime::version);
    let note =
        if found == RUNTIME_VERSION { String::new() } else { format!(" (tested with {RUNTIME_VERSION})") };
    Finding { what: "its version", ok: true, found: found + &note }
}
