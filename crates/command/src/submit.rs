//! `bitquake submit`.

use std::path::PathBuf;

use bitquake::campaign::read_config;
use bitquake::campaign::slurm::{Queue, Resources};
use bitquake::submit::{Prepared, SubmitOptions, prepare};

use crate::exit::Failure;
use crate::folder::{Results, check_is_apart};
use crate::output::{Output, counted};

/// Run a campaign as a job array of a cluster; the same command sends again what did not finish.
///
/// Each task runs one shard, all in one result directory; a last job joins them and makes the report. A task that is told to
/// stop, because its time is over or others need its node, goes back into the queue by itself. `bitquake status DIR` tells how
/// far all are.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Campaign file; later ones override keys of earlier ones
    #[arg(required = true, value_name = "CAMPAIGN.toml")]
    files: Vec<PathBuf>,
    /// Send it to Slurm, the one scheduler that is known; for others, start `bitquake run --shard I/N` yourself
    #[arg(long, required = true)]
    slurm: bool,
    /// Tasks of the job array: shards
    #[arg(long, value_name = "N")]
    tasks: u32,
    /// Result directory, which all nodes must see; default: [output] dir, or results/<name> beside the campaign file
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Override a key, such as run.trials=10; repeat for more
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Print the scripts and the commands, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the numbers of the jobs as JSON; null when there was nothing to send
    #[arg(long)]
    json: bool,
    /// The bitquake that tasks start; default: this one
    #[arg(long, value_name = "FILE")]
    executable: Option<PathBuf>,
    #[command(flatten)]
    resources: ResourceArgs,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Resources, as sbatch takes them")]
struct ResourceArgs {
    /// Processors of a task, which is also its number of threads
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    cpus: u32,
    /// Memory of a task, such as 4G; default: the cluster's
    #[arg(long, value_name = "SIZE")]
    mem: Option<String>,
    /// Longest time of a task, such as 2:00:00; default: the cluster's
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// Partition; default: the cluster's
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// Account to charge; default: yours
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Quality of service; default: yours
    #[arg(long, value_name = "NAME")]
    qos: Option<String>,
    /// Features that nodes must have; default: none
    #[arg(long, value_name = "FEATURES")]
    constraint: Option<String>,
    /// Most tasks that run at a time; default: all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    array_limit: Option<u32>,
    /// Seconds before the end of its time at which a task is told to stop
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    grace: u32,
    /// Another argument of sbatch, such as --extra-arg=--nice=10; for all jobs; repeat for more
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    extra_arg: Vec<String>,
}

/// `executable` is this one.
pub(crate) fn run(args: &Args, executable: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
    let mut config = read_config(&args.files, &args.set)?;
    if let Some(dir) = &args.output {
        config.output.dir = Some(std::path::absolute(dir).unwrap_or_else(|_| dir.clone()));
    }
    if let Some(dir) = &config.output.dir {
        check_is_apart(dir, &args.files, Some(Results::Campaign))?;
    }
    let program = program(args.executable.clone().or(executable))?;
    let options = SubmitOptions { tasks: args.tasks, resources: args.resources.resources(), program };
    let queue = args.queue();
    let prepared = prepare(config, &options, queue)?;
    if args.dry_run {
        return dry_run(&prepared, output);
    }
    let (waiting, dir) = (prepared.waiting.len() as u64, prepared.dir.clone());
    let sent = prepared.send(Queue)?;
    if waiting > 0 {
        output.note(format!("{} in the queue already", counted(waiting, "shard")));
    }
    if sent.is_none() {
        output.note(nothing(waiting));
    }
    if args.json {
        return output.json(&sent);
    }
    let Some(sent) = sent else { return Ok(()) };
    let shards = counted(sent.shards.len() as u64, "shard");
    output
        .data(&format!("sent {shards} as job {}, and what joins them as job {}", sent.array, sent.merge))?;
    output.note(format!("bitquake status {} tells how far they are", dir.display()));
    Ok(())
}

fn dry_run(prepared: &Prepared, output: &Output) -> Result<(), Failure> {
    match &prepared.plan {
        Some(plan) => output.data(&plan.shown(&prepared.dir)),
        None => {
            output.note(nothing(prepared.waiting.len() as u64));
            Ok(())
        }
    }
}

fn nothing(waiting: u64) -> &'static str {
    if waiting == 0 { "nothing to send: all trials are finished" } else { "nothing else to send" }
}

/// The executable for the tasks, by an absolute path.
fn program(executable: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let found = executable.ok_or_else(|| Failure::usage("cannot find this executable: give --executable"))?;
    std::path::absolute(&found)
        .map_err(|error| Failure::usage(format!("--executable {}: {error}", found.display())))
}

impl Args {
    /// A dry run works on a machine without Slurm too.
    fn queue(&self) -> Option<Queue> {
        (!self.dry_run || Queue.tasks().is_ok()).then_some(Queue)
    }
}

impl ResourceArgs {
    fn resources(&self) -> Resources {
        Resources {
            cpus: self.cpus,
            mem: self.mem.clone(),
            time: self.time.clone(),
            partition: self.partition.clone(),
            account: self.account.clone(),
            qos: self.qos.clone(),
            constraint: self.constraint.clone(),
            array_limit: self.array_limit,
            grace: self.grace,
            extra: self.extra_arg.clone(),
        }
    }
}
