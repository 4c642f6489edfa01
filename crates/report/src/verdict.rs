//! What came out, in a few sentences and figures.

use bitquake_record::{Amount, PointSummary};
use serde::Serialize;

use crate::number::{NONE, amount, grouped, percent};
use crate::view::{View, estimate_text, is_degenerate, of_planned};

/// The top of the page.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) sentences: Vec<String>,
    pub(crate) figures: Vec<KeyFigure>,
    /// What a reader must beware of.
    pub(crate) cautions: Vec<String>,
}

/// One number that stands out.
#[derive(Debug, Serialize)]
pub(crate) struct KeyFigure {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) about: String,
}

pub(crate) fn verdict(view: &View<'_>) -> Verdict {
    let mut cautions = Vec::new();
    cautions.extend(partial(view));
    if view.results.trials.is_empty() {
        cautions.push("No trial is recorded yet.".into());
    }
    cautions.extend(degenerate(view));
    Verdict { sentences: sentences(view), figures: figures(view), cautions }
}

/// How far the mean accuracy keeps within the margin, over the points with trials from the lowest amount up.
struct Reach<'a> {
    /// The last point before the mean falls below the margin.
    last_within: Option<&'a PointSummary>,
    /// The first point at which it lies below.
    first_beyond: Option<&'a PointSummary>,
}

fn reach<'a>(view: &View<'a>) -> Reach<'a> {
    let size = |point: &PointSummary| point.amount.severity();
    let mut tried: Vec<(&PointSummary, bool)> =
        view.points.iter().filter_map(|point| Some((point, view.is_within_margin(point)?))).collect();
    tried.sort_by(|a, b| size(a.0).total_cmp(&size(b.0)));
    let within = tried.iter().take_while(|(_, within)| *within).count();
    Reach {
        last_within: within.checked_sub(1).map(|place| tried[place].0),
        first_beyond: tried.get(within).map(|(point, _)| *point),
    }
}

fn sentences(view: &View<'_>) -> Vec<String> {
    let counts = &view.results.golden.metrics;
    let golden = percent(view.golden_accuracy(), 2);
    let images = grouped(counts.images);
    let mut sentences =
        vec![format!("Without faults, {golden} % of {images} images are classified correctly (golden run).")];
    sentences.extend(reach_sentence(view));
    if let Some((point, trial)) = view.worst_of_all() {
        sentences.push(format!(
            "The worst single trial left {} % (trial {} at {}).",
            percent(trial.accuracy(), 2),
            grouped(trial.trial),
            place(point.amount)
        ));
    }
    sentences
}

fn reach_sentence(view: &View<'_>) -> Option<String> {
    let (name, margin, decimals) = (view.amount_name(), view.margin(), view.decimals("accuracy", 1));
    let told = |point: &PointSummary| (amount(point.amount), estimate_text(point, "accuracy", decimals));
    Some(match reach(view) {
        Reach { last_within: Some(last), first_beyond: Some(first) } => {
            let ((last, kept), (first, fallen)) = (told(last), told(first));
            format!(
                "Mean accuracy stays within {margin} of that up to a {name} of {last}, where it is {kept}; \
                 at {first} it is {fallen}."
            )
        }
        Reach { last_within: Some(only), first_beyond: None } if view.points.len() == 1 => {
            let (only, kept) = told(only);
            format!("At a {name} of {only}, mean accuracy is {kept}: within {margin} of that.")
        }
        Reach { last_within: None, first_beyond: Some(only) } if view.points.len() == 1 => {
            let (only, fallen) = told(only);
            format!("At a {name} of {only}, mean accuracy is more than {margin} lower: {fallen}.")
        }
        Reach { last_within: Some(last), first_beyond: None } => {
            let (last, kept) = told(last);
            format!(
                "Mean accuracy stays within {margin} of that at every {name} tried; at the highest, {last}, it is {kept}."
            )
        }
        Reach { last_within: None, first_beyond: Some(first) } => {
            let (first, fallen) = told(first);
            format!(
                "Already at the lowest {name} tried, {first}, mean accuracy is more than {margin} lower: {fallen}."
            )
        }
        Reach { last_within: None, first_beyond: None } => return None,
    })
}

/// A point in running text: `rate 10⁻⁵`, `count 3`.
fn place(at: Amount) -> String {
    format!("{} {}", at.kind(), amount(at))
}

fn figures(view: &View<'_>) -> Vec<KeyFigure> {
    let counts = &view.results.golden.metrics;
    let (done, planned) = view.progress();
    let tolerated = match reach(view) {
        Reach { last_within: Some(last), .. } => amount(last.amount),
        Reach { first_beyond: Some(_), .. } => "none tried".into(),
        _ => NONE.into(),
    };
    let worst = view.worst_of_all();
    vec![
        KeyFigure {
            name: "golden accuracy",
            value: format!("{} %", percent(view.golden_accuracy(), 2)),
            about: format!("{} of {} images", grouped(counts.correct), grouped(counts.images)),
        },
        KeyFigure {
            name: "mean within the margin up to",
            value: tolerated,
            about: view.amount_name().into(),
        },
        KeyFigure {
            name: "worst trial",
            value: worst.map_or(NONE.into(), |(_, trial)| format!("{} %", percent(trial.accuracy(), 2))),
            about: worst.map_or(String::new(), |(point, trial)| {
                format!("trial {} at {}", grouped(trial.trial), place(point.amount))
            }),
        },
        KeyFigure {
            name: "trials",
            value: of_planned(done, planned),
            about: format!("at {} point{}", view.points.len(), if view.points.len() == 1 { "" } else { "s" }),
        },
    ]
}

fn partial(view: &View<'_>) -> Option<String> {
    let (done, planned) = view.progress();
    view.is_partial().then(|| {
        format!(
            "This campaign is not finished: {} trials are recorded. Running it again resumes it.",
            of_planned(done, planned)
        )
    })
}

fn degenerate(view: &View<'_>) -> Option<String> {
    let points: Vec<String> =
        view.points.iter().filter(|point| is_degenerate(point)).map(|point| place(point.amount)).collect();
    (!points.is_empty()).then(|| {
        format!(
            "At {} all trials have the same accuracy, so the t interval has no width. That is no certainty: see the interval \
             of the share of dropped trials there.",
            listed(&points)
        )
    })
}

/// `a`, `a and b`, `a, b and c`.
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
