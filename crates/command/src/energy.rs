//! `bitquake energy`.

use std::path::{PathBuf, absolute};

use bitquake::energy::{CurvePoint, ENERGY_HTML, EnergyResults, Lowest, Trade, read_energy, trade, write};

use crate::exit::Failure;
use crate::output::{Output, table};

/// Trade accuracy for the energy of the memory: error against energy, the front, and the lowest energy within a loss budget
///
/// The file says what an access costs at a bit error rate or a voltage; campaigns say what error is left there. Without campaigns the curve is
/// printed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Energy file
    #[arg(value_name = "CURVE.toml")]
    file: PathBuf,
    /// Result directories of campaigns with bit errors in weights, over rates or voltages
    #[arg(value_name = "RESULTS")]
    results: Vec<PathBuf>,
    /// Output folder; default: [output] dir, or energy/<name> beside the file
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Override a key, such as budget.loss=[0.02]; repeat for more
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let file = read_energy(std::slice::from_ref(&args.file), &args.set)?;
    let dir = match &args.output {
        Some(dir) => absolute(dir).unwrap_or_else(|_| dir.clone()),
        None => file.output.dir.clone().unwrap_or_default(),
    };
    let found = trade(file, &args.results)?;
    if found.trade.is_some() {
        write(&found, &dir)?;
    }
    if args.json {
        return output.json(&found);
    }
    output.data(&told(&found))?;
    found.warnings.iter().for_each(|warning| output.note(format!("note: {warning}")));
    if found.trade.is_some() {
        output.note(format!("report: {}", dir.join(ENERGY_HTML).display()));
    }
    Ok(())
}

/// Accesses of bits that tables count in.
const MBIT: f64 = 1e6;

fn told(found: &EnergyResults) -> String {
    let mut parts = vec![format!("curve: {}", found.curve)];
    match &found.trade {
        None => parts.push(curve(&found.points)),
        Some(trade) => {
            parts.push(points(trade));
            for budget in &found.budget {
                let title =
                    format!("lowest energy within a loss of {:.2} percentage points:", 100.0 * budget.loss);
                parts.push(format!("{title}\n{}", lowest(trade, &budget.lowest)));
            }
        }
    }
    parts.join("\n\n")
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn curve(points: &[CurvePoint]) -> String {
    let row = |point: &CurvePoint| {
        let voltage = point.voltage.map_or_else(|| "-".into(), |voltage| format!("{voltage:.4}"));
        vec![format!("{:e}", point.rate), format!("{:.4}", point.energy), voltage]
    };
    table(&["rate", "energy of an access", "voltage"], &[0, 1, 2], points.iter().map(row))
}

/// A row a point; the share of the energy that the network needs with reliable accesses.
fn points(trade: &Trade) -> String {
    let rows = trade.points.iter().map(|point| {
        let contender = &trade.contenders[point.contender];
        let interval = point.measured.and_then(|measured| measured.interval);
        let interval = interval
            .map_or_else(String::new, |ends| format!(" [{:.2}, {:.2}]", 100.0 * ends.lo, 100.0 * ends.hi));
        vec![
            contender.name.clone(),
            point.setting(),
            format!("{:.4}", point.access),
            format!("{:.4}", point.inference / MBIT),
            percent(point.inference / contender.reading.energy(1.0)),
            format!("{}{interval}", percent(point.error)),
            if point.is_on_front {
                "front"
            } else if point.is_beaten {
                "beaten"
            } else {
                ""
            }
            .into(),
        ]
    });
    let header = ["network", "setting", "access", "Mbit reads", "of reliable", "error", ""];
    table(&header, &[2, 3, 4], rows)
}

fn lowest(trade: &Trade, lowest: &[Lowest]) -> String {
    let rows = lowest.iter().map(|lowest| {
        let contender = &trade.contenders[lowest.contender];
        let reliable = contender.reading.energy(1.0);
        let [setting, reads, share] = lowest.measured.map_or_else(
            || ["none", "-", "-"].map(str::to_owned),
            |point| {
                let reads = format!("{:.4}", point.inference / MBIT);
                [point.setting(), reads, percent(point.inference / reliable)]
            },
        );
        let crossing = lowest.crossing.map_or_else(|| "-".into(), |crossing| crossing.shown(MBIT, 4));
        let (clean, limit) = (percent(contender.clean), percent(lowest.most_error));
        vec![contender.name.clone(), clean, limit, setting, reads, share, crossing]
    });
    let head = [
        "network",
        "clean error",
        "limit",
        "measured",
        "Mbit reads",
        "of reliable",
        "Mbit reads by the mean",
    ];
    table(&head, &[1, 2, 4, 5], rows)
}
