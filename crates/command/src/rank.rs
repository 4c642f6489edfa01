//! `bitquake rank`.

mod progress;

use std::path::{Path, PathBuf, absolute};

use bitquake::attack::rank::{
    Agreement, AgreementOf, LayerRow, Rank, RankEnd, RankSummary, RankingSummary, TraceSummary, read_rank,
};
use serde::Serialize;

use crate::exit::Failure;
use crate::folder::{Results, check_is_apart};
use crate::output::{Output, counted, grouped, table};
use crate::signal::stop_on_signal;
use progress::Progress;

/// Rank stored bits by how much they matter, without trying them all, or resume.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// File of rankings; later ones, such as the storage.toml of a training, override keys of earlier ones
    #[arg(required = true, value_name = "RANK.toml")]
    files: Vec<PathBuf>,
    /// Output folder; default: [output] dir, or rankings/<name> beside the file
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Override a key, such as rank.top=100; repeat for more
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let mut config = read_rank(&args.files, &args.set)?;
    if let Some(dir) = &args.output {
        config.output.dir = Some(absolute(dir).unwrap_or_else(|_| dir.clone()));
    }
    let rank = Rank::prepare(config)?;
    let dir = rank.dir().to_owned();
    check_is_apart(&dir, &args.files, Some(Results::Rankings))?;
    let stop = stop_on_signal("finishing what is being computed; once more to stop at once")?;
    let mut progress = Progress::new(output.quiet);
    let end = rank.run(&stop, |event| progress.event(event));
    progress.close();
    match end? {
        RankEnd::Finished(summary) => show(&dir, &summary, args.json, output),
        RankEnd::Stopped { products } => Err(Failure::stopped(format!(
            "stopped after {}; run the same command again to resume",
            counted(products.into(), "product")
        ))),
    }
}

#[derive(Serialize)]
struct Told<'a> {
    dir: &'a Path,
    #[serde(flatten)]
    summary: &'a RankSummary,
}

/// Prints the tensors in the first ranking and how far all of them agree, and says where the files are.
fn show(dir: &Path, summary: &RankSummary, json: bool, output: &Output) -> Result<(), Failure> {
    if json {
        return output.json(&Told { dir, summary });
    }
    warn_unconverged(summary, output);
    let Some(first) = summary.rankings.first() else { return Ok(()) };
    output.data(&layers(first, summary.trace.as_ref()))?;
    if !summary.agreement.is_empty() {
        output.data("")?;
        output.data(&agreement(&summary.agreement))?;
    }
    output.note(format!("files: {}; the bits that matter most: {}.csv", dir.display(), first.ranking));
    Ok(())
}

fn warn_unconverged(summary: &RankSummary, output: &Output) {
    if let Some(trace) = summary.trace.as_ref().filter(|trace| !trace.converged) {
        let error = trace.standard_error.map_or_else(String::new, |error| format!(" +- {error:.3e}"));
        output.warn(format!(
            "the trace, {:.4e}{error}, still moved after {} random vectors; more are [rank.curvature] vectors",
            trace.trace, trace.vectors
        ));
    }
    for (number, pair) in (1..).zip(&summary.eigenpairs).filter(|(_, pair)| !pair.converged) {
        output.warn(format!(
            "eigenpair {number} had not converged after {} iterations, its eigenvalue is {:.4e}; more are [rank.eigen] iterations",
            pair.iterations, pair.value
        ));
    }
}

fn layers(ranking: &RankingSummary, trace: Option<&TraceSummary>) -> String {
    let score = |score: Option<f64>| score.map_or_else(|| "-".into(), |score| format!("{score:.3e}"));
    let row = |(place, layer): (usize, &LayerRow)| {
        let mut row = vec![
            layer.tensor.clone(),
            grouped(layer.bits),
            score(layer.mean),
            score(layer.max),
            grouped(layer.nonfinite),
            format!("{:.1} %", 100.0 * layer.top_share),
        ];
        row.extend(trace.map(|trace| format!("{:.3e}", trace.by_tensor[place])));
        row
    };
    let share = format!("of the top {}", grouped(ranking.top));
    let mut header = vec![ranking.ranking, "bits", "mean score", "max score", "not finite", &share];
    header.extend(trace.map(|_| "trace"));
    table(&header, &[1, 2, 3, 4, 5, 6], ranking.layers.iter().enumerate().map(row))
}

fn agreement(pairs: &[Agreement]) -> String {
    let row = |pair: &Agreement| {
        let of = match pair.of {
            AgreementOf::Bits => "bits",
            AgreementOf::Strata => "strata",
        };
        vec![
            format!("{} and {}", pair.first, pair.second),
            format!("{} {of}", grouped(pair.things)),
            pair.tau.map_or_else(|| "-".into(), |tau| format!("{tau:.3}")),
            grouped(pair.top),
            format!("{:.1} %", 100.0 * pair.overlap),
            format!("{:.1} %", 100.0 * pair.overlap_by_chance),
        ]
    };
    let header = ["agreement of", "on", "Kendall's tau-b", "of the top", "in both", "by chance"];
    table(&header, &[1, 2, 3, 4, 5], pairs.iter().map(row))
}
