//! `bitquake status`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use bitquake::campaign::slurm::Queue;
use bitquake::status::{PointStatus, ShardStatus, Status, status};

use crate::exit::Failure;
use crate::output::{Output, counted, grouped, table};

/// Tell how far a campaign is, over all of its shards.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Result directories
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Print a list with one object a directory as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let all: Vec<Status> = args.dirs.iter().map(|dir| status(dir, Queue)).collect::<Result<_, _>>()?;
    if args.json {
        return output.json(&all);
    }
    let texts: Vec<String> = all.iter().map(text).collect();
    output.data(&texts.join("\n\n"))
}

fn text(status: &Status) -> String {
    let Status { name, finished, missing, .. } = status;
    let of = counted(finished + missing, "trial");
    let mut lines = vec![format!("{name} in {}: {} of {of}", status.dir.display(), grouped(*finished))];
    lines.push(shards(&status.shards));
    lines.push(points(&status.points));
    lines.extend(outlook(status));
    lines.join("\n\n")
}

fn shards(shards: &[ShardStatus]) -> String {
    let row = |shard: &ShardStatus| {
        vec![
            shard.shard.to_string(),
            grouped(shard.finished),
            shard.missing.map_or_else(|| "?".into(), grouped),
            rate(shard.rate),
            state(shard),
            shard.last_write.map_or_else(String::new, ago),
            shard.task.as_ref().map_or_else(String::new, |task| {
                let exit = task.exit.filter(|code| *code != 0).map(|code| format!(", exit code {code}"));
                format!("{} in job {}{}", task.state, task.job, exit.unwrap_or_default())
            }),
        ]
    };
    let header = ["shard", "finished", "missing", "trials/s", "run", "last write", "task"];
    table(&header, &[0, 1, 2, 3], shards.iter().map(row))
}

fn state(shard: &ShardStatus) -> String {
    match (shard.running, &shard.host, shard.pid) {
        (Some(true), Some(host), Some(pid)) => format!("process {pid} on {host}"),
        (Some(true), ..) => "begins".into(),
        (None, ..) => "?".into(),
        (Some(false), ..) if shard.missing == Some(0) => "done".into(),
        (Some(false), ..) => "none".into(),
    }
}

fn points(points: &[PointStatus]) -> String {
    let row = |point: &PointStatus| {
        let amount = format!("{} {}", point.amount.kind(), point.amount);
        vec![point.point.to_string(), amount, grouped(point.finished), grouped(point.missing)]
    };
    table(&["point", "faults", "finished", "missing"], &[0, 2, 3], points.iter().map(row))
}

/// What is to come, for people.
fn outlook(status: &Status) -> Vec<String> {
    let mut told = Vec::new();
    if let (Some(rate), Some(seconds)) = (status.rate, status.seconds_left.filter(|_| status.missing > 0)) {
        told.push(format!("{rate:.1} trials/s; running shards need {} more", span(seconds)));
    }
    let failed = |shard: &&ShardStatus| {
        shard.missing != Some(0) && shard.task.as_ref().is_some_and(|task| task.has_failed())
    };
    let failed: Vec<String> =
        status.shards.iter().filter(failed).map(|shard| shard.shard.to_string()).collect();
    if !failed.is_empty() {
        let (word, shards) = (if failed.len() == 1 { "shard" } else { "shards" }, failed.join(", "));
        told.push(format!(
            "ended before their trials were finished: {word} {shards}; the same `bitquake submit` sends them again"
        ));
    }
    told
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(String::new, |rate| format!("{rate:.1}"))
}

/// A moment in seconds since 1970.
fn ago(moment: f64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    format!("{} ago", span((now - moment).max(0.0)))
}

fn span(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (59.2, "1 min 0 s"),
            (61.0, "1 min 1 s"),
            (7300.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
