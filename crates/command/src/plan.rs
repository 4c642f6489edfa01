//! The plan of a run, as a person reads it.

use bitquake::campaign::{Plan, PlannedPoint, SamplingConfig};
use bitquake::record::Amount;

use crate::output::{counted, grouped, table};

/// The plan in some lines: what was asked, a table of the points, and what it leaves out.
pub(crate) fn shown(plan: &Plan) -> String {
    let mut lines = vec![headline(plan)];
    lines.push(if plan.is_piloted { full(plan) } else { light(plan) });
    lines.extend(notes(plan));
    lines.join("\n")
}

fn headline(plan: &Plan) -> String {
    let mut parts = vec![format!("plan: fault space {}", counted(plan.space_bits, "bit"))];
    if let Some(asked) = &plan.asked {
        let width = asked.half_width.map(|width| format!("{} ± {}", plan.metric, percent(width)));
        let relative = asked.relative.map(|share| format!("{} ± {} of itself", plan.metric, percent(share)));
        let widths: Vec<String> = width.into_iter().chain(relative).collect();
        if !widths.is_empty() {
            let sure = percent(plan.confidence);
            parts.push(format!("asked: {} at {sure}, looking after every few trials", widths.join(" and ")));
        }
        if let Some(seconds) = asked.max_seconds {
            parts.push(format!("at most {}", duration(seconds)));
        }
    }
    parts.push(format!("{} at a time", counted(plan.workers, "trial")));
    parts.join("; ")
}

/// What the golden run alone tells.
fn light(plan: &Plan) -> String {
    let trials: u64 = plan.points.iter().filter_map(|point| point.trials).sum();
    let seconds: f64 = plan.points.iter().filter_map(|point| point.seconds).sum();
    let (all, points) = (counted(trials, "trial"), counted(plan.points.len() as u64, "point"));
    let (images, time) = (counted(plan.images, "image"), duration(seconds));
    format!("{all} at {points}, each on {images}: at most about {time}")
}

fn full(plan: &Plan) -> String {
    let header =
        ["point", "faults a trial", "images", "trials", "±", "time", "naive patterns", "naive time", "gain"];
    let rows = plan.points.iter().map(row);
    table(&header, &[1, 2, 3, 4, 5, 6, 7, 8], rows)
}

fn row(point: &PlannedPoint) -> Vec<String> {
    let unknown = || "?".to_owned();
    let number = |value: Option<u64>| value.map_or_else(unknown, about);
    let time = |value: Option<f64>| value.map_or_else(unknown, duration);
    let trials = if point.is_cut && point.trials.is_some() {
        format!("{}, cut", number(point.trials))
    } else {
        number(point.trials)
    };
    let gain = point.naive_seconds.zip(point.seconds).map(|(naive, own)| naive / own.max(1e-9));
    vec![
        label(point),
        point.expected_faults.map_or_else(unknown, three_digits),
        grouped(point.images),
        trials,
        point.half_width.map_or_else(unknown, percent),
        time(point.seconds),
        number(point.naive_trials),
        time(point.naive_seconds),
        gain.map_or_else(unknown, |gain| format!("{}x", two_digits(gain))),
    ]
}

/// A point as tables name it.
fn label(point: &PlannedPoint) -> String {
    match point.kind {
        "count" => format!("count {}", Amount::Count(point.amount as u64)),
        kind => format!("{kind} {}", Amount::Rate(point.amount)),
    }
}

fn notes(plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    if plan.is_piloted {
        let (images, golden) = (counted(plan.images, "image"), duration(plan.golden_seconds));
        notes.push(format!(
            "naive: the patterns on all {images}, each an evaluation of {golden}, whose t interval has that half width"
        ));
    }
    if let Some(leveugle) = plan.leveugle {
        let (faults, margin) = (counted(leveugle.faults, "fault"), percent(leveugle.margin));
        notes.push(format!("single upsets: {faults} for ± {margin} by Leveugle et al. (2009), p = 0.5"));
    }
    match plan.sampling {
        Some(SamplingConfig::Importance) => {
            notes
                .push("importance sampling: the trials are those of uniform sampling, it needs fewer".into());
        }
        Some(SamplingConfig::Exhaustive) => {
            notes.push("exhaustive: every bit of the fault space once".into())
        }
        _ => {}
    }
    let guessed: Vec<String> = plan.points.iter().filter(|point| point.is_guess).map(label).collect();
    if !guessed.is_empty() {
        notes.push(format!("no trial of the pilot changed anything at {}: a guess", guessed.join(", ")));
    }
    notes
}

/// A fraction as a percentage of three digits.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{} %", three_digits(100.0 * fraction))
}

fn three_digits(value: f64) -> String {
    digits(value, 3)
}

fn two_digits(value: f64) -> String {
    digits(value, 2)
}

fn digits(value: f64, all: i32) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size => (all - 1 - size.log10().floor() as i32).clamp(0, 9) as usize,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A number that is not known exactly, in two digits.
fn about(value: u64) -> String {
    let unit = 10_u64.pow(value.max(1).ilog10().saturating_sub(1));
    grouped((value + unit / 2) / unit * unit)
}

/// Seconds in the unit that suits them.
pub(crate) fn duration(seconds: f64) -> String {
    for (unit, name) in [(86_400.0, "days"), (3_600.0, "h"), (60.0, "min"), (1.0, "s")] {
        // A little more of a unit than of the next larger one, so that 90 s are not 1.5 min.
        if seconds >= 2.0 * unit {
            return format!("{} {name}", three_digits(seconds / unit));
        }
    }
    format!("{} s", if seconds < 0.1 { two_digits(seconds) } else { format!("{seconds:.1}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_what_is_known() {
        for (value, text) in
            [(0, "0"), (7, "7"), (64, "64"), (125, "130"), (9555, "9,600"), (1_234_567, "1,200,000")]
        {
            assert_eq!(about(value), text);
        }
        for (value, text) in
            [(0.0, "0 %"), (0.005, "0.5 %"), (0.012_345, "1.23 %"), (1.0, "100 %"), (2e-6, "0.0002 %")]
        {
            assert_eq!(percent(value), text);
        }
        for (value, text) in [
            (0.0412, "0.041 s"),
            (0.4, "0.4 s"),
            (1.26, "1.3 s"),
            (90.0, "90 s"),
            (300.0, "5 min"),
            (1e4, "2.78 h"),
            (1e6, "11.6 days"),
        ] {
            assert_eq!(duration(value), text);
        }
    }
}
