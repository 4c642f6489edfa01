//! `bitquake protect`.

use std::path::PathBuf;

use bitquake::Error;
use bitquake::campaign::Shard;
use bitquake::protect::{
    Contender, ContenderKind, JudgeEvent, Judged, Judgement, PROTECT_HTML, Plans, judge, plan, read_protect,
    write,
};

use crate::exit::Failure;
use crate::folder::check_is_apart;
use crate::output::{Output, grouped, table};
use crate::progress::Progress;
use crate::signal::stop_on_signal;

/// Choose what to protect within a budget of extra bits, and judge it, or resume
///
/// The files are those of a campaign over bit error rates, with a table [protect] that names what tells the damage of flips: rankings, or a campaign of
/// single upsets. Plans are layers that `bitquake run` takes; each is judged beside the unprotected memory under common fault patterns.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Campaign file with a table [protect]; later ones override keys of earlier ones
    #[arg(required = true, value_name = "PROTECT.toml")]
    files: Vec<PathBuf>,
    /// Output folder; default: protected/<name> beside the first file
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Override a key, such as protect.budgets=[0.1]; repeat for more
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Make the plans, and run no campaign
    #[arg(long)]
    plan: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let mut file = read_protect(&args.files, &args.set)?;
    if let Some(dir) = &args.output {
        file.dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
    }
    let plans = plan(file)?;
    if args.plan {
        return if args.json { output.json(&plans.contenders) } else { output.data(&planned(&plans)) };
    }
    check_is_apart(&plans.file.dir, &args.files, None)?;
    output.note(planned(&plans));
    let judgement = judged(&plans, output)?;
    write(&judgement, &plans.file.dir)?;
    if args.json {
        return output.json(&judgement);
    }
    output.data(&told(&judgement))?;
    judgement.warnings.iter().for_each(|warning| output.note(format!("note: {warning}")));
    output.note(format!("report: {}", plans.file.dir.join(PROTECT_HTML).display()));
    Ok(())
}

fn judged(plans: &Plans, output: &Output) -> Result<Judgement, Failure> {
    let stop = stop_on_signal("finishing the running trials; once more to stop at once")?;
    let new = || Progress::new(output.quiet, plans.file.campaign.run.stop.as_ref(), Shard::default());
    let mut progress: Option<Progress> = None;
    let judgement = judge(plans, &stop, |event| match event {
        JudgeEvent::Begin { place, contender } => {
            if let Some(before) = progress.take() {
                before.close();
            }
            output.note(format!("memory {} of {}: {}", place + 1, plans.contenders.len(), contender.name));
            progress = Some(new());
        }
        JudgeEvent::Campaign(event) => {
            if let Some(progress) = &mut progress {
                progress.event(&event);
            }
        }
    });
    if let Some(last) = progress {
        last.close();
    }
    judgement.map_err(|error| match error {
        stopped @ Error::Unfinished { .. } => Failure::stopped(stopped),
        other => other.into(),
    })
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// The plans, before anything is judged.
fn planned(plans: &Plans) -> String {
    let row = |contender: &Contender| {
        let (tensors, saved) = match &contender.kind {
            ContenderKind::Unprotected => ("0".to_owned(), String::new()),
            ContenderKind::Uniform => ("all".to_owned(), String::new()),
            ContenderKind::Planned { plan, .. } => {
                (plan.rules.len().to_string(), plan.saved_share().map_or_else(|| "-".into(), percent))
            }
        };
        vec![
            contender.name.clone(),
            grouped(contender.check_bits),
            percent(plans.overhead(contender)),
            tensors,
            saved,
        ]
    };
    let head = ["memory", "check bits", "extra bits", "tensors", "expected damage saved"];
    let rows = table(&head, &[1, 2, 3, 4], plans.contenders.iter().map(row));
    format!("plans by {}, at a bit error rate of {:e}:\n{rows}", plans.damage, plans.rate)
}

fn told(judgement: &Judgement) -> String {
    let ends = |ends: Option<[f64; 2]>| {
        ends.map_or_else(String::new, |[lo, hi]| format!(" [{:.2}, {:.2}]", 100.0 * lo, 100.0 * hi))
    };
    let row = |judged: &Judged| {
        let difference = judged.difference.map_or_else(String::new, |difference| {
            let interval = difference.interval.map(|interval| [interval.lo, interval.hi]);
            format!("{:+.2}{}", 100.0 * difference.value, ends(interval))
        });
        vec![
            judged.contender.name.clone(),
            percent(judged.overhead),
            format!("{:.2}{}", 100.0 * judged.error, ends(judged.interval.map(|ends| [ends.lo, ends.hi]))),
            difference,
            percent(judged.residue.coverage),
            judged.standing.to_string(),
        ]
    };
    let head = ["memory", "extra bits", "error in %", "to unprotected, points", "wrong bits gone", "rank"];
    let rows = table(&head, &[1, 2, 3, 4], judgement.memories.iter().map(row));
    let bare = &judgement.memories[0];
    format!(
        "{}: bit error rate {:e}, {} fault patterns, error without faults {}\n{rows}",
        judgement.name,
        judgement.rate,
        bare.trials,
        percent(bare.clean)
    )
}
