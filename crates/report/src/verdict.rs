//! What came out, in a few sentences and figures.

use bitquake_record::{Amount, DistanceMeasure, DistanceRule, OwnSummary, PointSummary};
use serde::Serialize;

use crate::number::{NONE, amount, counted, grouped, percent, plain};
use crate::view::{View, estimate_text, is_degenerate, of_planned, trials_of_planned};

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
    if view.overview.trials == 0 {
        cautions.push("No trial is recorded yet.".into());
    }
    cautions.extend(rule(view));
    cautions.extend(degenerate(view));
    cautions.extend(conditioned(view));
    cautions.extend(not_finite(view));
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
    let counts = &view.golden.metrics;
    let golden = percent(view.golden_score(), 2);
    let images = counted(counts.images, "image");
    let mut sentences = vec![match view.golden.distance {
        None if !counts.knows("correct") => told_sentence(view),
        None => {
            format!("Without faults, {golden} % of {images} are classified correctly (golden run).")
        }
        Some(rule) => format!(
            "Each of {images} is within the threshold ({}) as long as its outputs lie no further from the golden run's.",
            rule_text(rule)
        ),
    }];
    // Means over trials that all have a fault say nothing about how far a rate is tolerated.
    sentences.extend(if view.is_conditioned() { overall_sentence(view) } else { reach_sentence(view) });
    if let Some((point, trial)) = view.worst_of_all() {
        sentences.push(format!(
            "The worst single trial left {} %{} (trial {} at {}).",
            percent(view.told_score(trial), 2),
            trial.clean.map_or(String::new(), |_| format!(" of its {}", counted(trial.images, "image"))),
            grouped(trial.trial),
            place(point.amount)
        ));
    }
    sentences
}

/// The golden run of a host that counts no images.
fn told_sentence(view: &View<'_>) -> String {
    let host = view.golden.metrics.host.as_ref();
    let number = |(name, value): (&String, &Option<f64>)| {
        let value = match value {
            Some(share) if name == "accuracy" => format!("{} %", percent(*share, 2)),
            value => value.map_or("not finite".into(), plain),
        };
        format!("{name} {value}")
    };
    let told: Vec<String> = host.iter().flat_map(|host| &host.own).map(number).collect();
    match told.is_empty() {
        true => "The host tells no numbers of its own (golden run).".into(),
        false => format!("Without faults, the host tells {} (golden run).", listed(&told)),
    }
}

/// Over all trials, those without faults included, at the worst point.
fn overall_sentence(view: &View<'_>) -> Option<String> {
    let overall = |point: &PointSummary| point.metric("err").and_then(|metric| metric.overall);
    let with_overall = view.points.iter().filter_map(|point| Some((point, overall(point)?)));
    let (point, overall) =
        with_overall.max_by(|a, b| a.0.amount.severity().total_cmp(&b.0.amount.severity()))?;
    let ends = overall.change_interval.map(|ends| format!(" [{:.1e}, {:.1e}]", ends.lo, ends.hi));
    let (name, at) = (view.amount_name(), amount(point.amount));
    Some(format!(
        "At a {name} of {at}, faults add {:.1e}{} to the share of misclassified images, over all trials.",
        overall.change,
        ends.unwrap_or_default()
    ))
}

fn reach_sentence(view: &View<'_>) -> Option<String> {
    let (name, margin, decimals) = (view.amount_name(), view.margin(), view.decimals(view.headline(), 1));
    let told = |point: &PointSummary| (amount(point.amount), estimate_text(point, view.headline(), decimals));
    let what = view.headline_name();
    let Direction { up_to, mildest, harshest } = Direction::of(view);
    Some(match reach(view) {
        Reach { last_within: Some(last), first_beyond: Some(first) } => {
            let ((last, kept), (first, fallen)) = (told(last), told(first));
            format!(
                "Mean {what} stays within {margin} of that {up_to} a {name} of {last}, where it is {kept}; \
                 at {first} it is {fallen}."
            )
        }
        Reach { last_within: Some(only), first_beyond: None } if view.points.len() == 1 => {
            let (only, kept) = told(only);
            format!("At a {name} of {only}, mean {what} is {kept}: within {margin} of that.")
        }
        Reach { last_within: None, first_beyond: Some(only) } if view.points.len() == 1 => {
            let (only, fallen) = told(only);
            format!("At a {name} of {only}, mean {what} is more than {margin} lower: {fallen}.")
        }
        Reach { last_within: Some(last), first_beyond: None } => {
            let (last, kept) = told(last);
            format!(
                "Mean {what} stays within {margin} of that at every {name} tried; at the {harshest}, {last}, it is {kept}."
            )
        }
        Reach { last_within: None, first_beyond: Some(first) } => {
            let (first, fallen) = told(first);
            format!(
                "Already at the {mildest} {name} tried, {first}, mean {what} is more than {margin} lower: {fallen}."
            )
        }
        Reach { last_within: None, first_beyond: None } => return None,
    })
}

/// The words for more and fewer faults: a lower voltage brings more.
struct Direction {
    up_to: &'static str,
    mildest: &'static str,
    harshest: &'static str,
}

impl Direction {
    fn of(view: &View<'_>) -> Self {
        match view.points.first().map(|point| point.amount) {
            Some(Amount::Voltage(_)) => Self { up_to: "down to", mildest: "highest", harshest: "lowest" },
            _ => Self { up_to: "up to", mildest: "lowest", harshest: "highest" },
        }
    }
}

/// `relative Euclidean distance at most 0.1`.
fn rule_text(rule: DistanceRule) -> String {
    let bound = if rule.measure == DistanceMeasure::Cosine { "at least" } else { "at most" };
    format!("{} {bound} {}", measure_name(rule.measure), plain(rule.threshold))
}

fn measure_name(measure: DistanceMeasure) -> &'static str {
    match measure {
        DistanceMeasure::MaxAbs => "largest absolute difference",
        DistanceMeasure::RelL2 => "relative Euclidean distance",
        DistanceMeasure::Cosine => "cosine similarity",
    }
}

/// A point in running text: `rate 10⁻⁵`, `count 3`.
fn place(at: Amount) -> String {
    format!("{} {}", at.kind(), amount(at))
}

fn figures(view: &View<'_>) -> Vec<KeyFigure> {
    let counts = &view.golden.metrics;
    let (done, planned) = view.progress();
    let tolerated = match reach(view) {
        _ if view.is_conditioned() => "not asked".into(),
        Reach { last_within: Some(last), .. } => amount(last.amount),
        Reach { first_beyond: Some(_), .. } => "none tried".into(),
        _ => NONE.into(),
    };
    let worst = view.worst_of_all();
    vec![
        match view.golden.distance {
            None => KeyFigure {
                name: "golden accuracy",
                value: view.golden.score().map_or(NONE.into(), |score| format!("{} %", percent(score, 2))),
                about: match counts.knows("correct") {
                    true => format!("{} of {}", grouped(counts.correct), counted(counts.images, "image")),
                    false => "as the host tells it".into(),
                },
            },
            Some(rule) => KeyFigure {
                name: "threshold",
                value: plain(rule.threshold),
                about: measure_name(rule.measure).into(),
            },
        },
        KeyFigure {
            name: if Direction::of(view).up_to == "up to" {
                "mean within the margin up to"
            } else {
                "mean within the margin down to"
            },
            value: tolerated,
            about: view.amount_name().into(),
        },
        KeyFigure {
            name: "worst trial",
            value: worst
                .map_or(NONE.into(), |(_, trial)| format!("{} %", percent(view.told_score(trial), 2))),
            about: worst.map_or(String::new(), |(point, trial)| {
                format!("trial {} at {}", grouped(trial.trial), place(point.amount))
            }),
        },
        KeyFigure {
            name: "trials",
            value: of_planned(done, planned),
            about: format!("at {}", counted(view.points.len() as u64, "point")),
        },
    ]
}

fn partial(view: &View<'_>) -> Option<String> {
    let (done, planned) = view.progress();
    view.is_partial().then(|| {
        format!(
            "This campaign is not finished: {} so far. Running it again resumes it.",
            trials_of_planned(done, planned)
        )
    })
}

/// That a rule ended the trials, and where it is not met.
fn rule(view: &View<'_>) -> Option<String> {
    let wanted = view.rule_text()?;
    let (met, open) = view.met();
    let places = |points: &[&PointSummary]| {
        listed(&points.iter().map(|point| place(point.amount)).collect::<Vec<_>>())
    };
    let ended = match (met.as_slice(), open.as_slice()) {
        _ if view.overview.trials == 0 => String::new(),
        (_, []) => "It is met at every point.".into(),
        ([], _) => {
            "It is met at no point: trials or time ended first, or the campaign is not finished.".into()
        }
        (_, open) => format!(
            "It is not met at {}: trials or time ended first there, or the campaign is not finished.",
            places(open)
        ),
    };
    Some(format!(
        "A rule that looks at the results ends the trials: {wanted}. {ended} All intervals are such that looking does no harm."
    ))
}

fn degenerate(view: &View<'_>) -> Option<String> {
    let points: Vec<String> =
        view.points.iter().filter(|point| is_degenerate(point)).map(|point| place(point.amount)).collect();
    (!points.is_empty()).then(|| {
        format!(
            "At {} all trials have the same {}, so the t interval has no width. That is no certainty: see the interval \
             of the share of dropped trials there.",
            listed(&points),
            view.headline_name()
        )
    })
}

fn conditioned(view: &View<'_>) -> Option<String> {
    let weight =
        |point: &PointSummary| point.weight.map(|weight| format!("{weight:.2e} at {}", place(point.amount)));
    let weights: Vec<String> = view.points.iter().filter_map(weight).collect();
    (!weights.is_empty()).then(|| {
        format!(
            "Every trial was drawn with at least one fault, and every mean and share in this report is over such trials. The \
             probability of a fault is {}; summary.csv has the means over all trials.",
            listed(&weights)
        )
    })
}

/// Numbers of a host's own that are in no mean.
fn not_finite(view: &View<'_>) -> Option<String> {
    let of_point = |point: &PointSummary| {
        let lacking = point.own.iter().filter(|own| own.nonfinite > 0);
        let told = |own: &OwnSummary| {
            format!("{} in {} at {}", own.name, counted(own.nonfinite, "trial"), place(point.amount))
        };
        lacking.map(told).collect::<Vec<_>>()
    };
    let all: Vec<String> = view.points.iter().flat_map(of_point).collect();
    (!all.is_empty()).then(|| {
        format!(
            "NaN or infinite, and therefore in no mean, minimum or maximum, are {}: those are over the other trials.",
            listed(&all)
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
