//! Accuracy against rate: the golden run, every trial, the mean and its interval.

use bitquake_record::{Amount, PointSummary, ShownTrial};

use crate::figure::Figure;
use crate::number::{amount, grouped, percent};
use crate::plot::{AmountAxis, Frame, Mark, PercentAxis, Place, Svg, legend};
use crate::view::{View, interval, point_text, summary};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 430.0;
pub(crate) const FRAME: Frame = Frame { left: 78.0, right: 944.0, top: 46.0, bottom: 372.0 };
/// A wider margin is only drawn if the data reach down to it.
const WIDE_MARGIN: f64 = 0.02;
/// How far to the left and right of a point its dots may lie, for many points, and the more room that few have.
const SPREAD: f64 = 16.0;
const ROOM: f64 = 60.0;
/// Most dots at a point, and on the whole plot.
const DOTS_A_POINT: usize = 500;
const DOTS: usize = 8000;
/// Points told one by one in the description.
const TOLD: usize = 40;

pub(crate) fn accuracy_plot(view: &View<'_>) -> Figure {
    let amounts: Vec<Amount> = view.points.iter().map(|point| point.amount).collect();
    let x = AmountAxis::covering(&amounts, true, FRAME);
    let y = PercentAxis::covering(shares(view), FRAME);
    let title = if view.golden.distance.is_some() {
        "Share of images within the threshold against fault rate"
    } else {
        "Accuracy against fault rate"
    };
    let mut svg = Svg::new("accuracy", WIDTH, HEIGHT, title, &description(view));
    y.draw(&mut svg, FRAME, view.headline_name());
    draw_levels(&mut svg, view, &y);
    draw_band(&mut svg, view, &x, &y);
    let spread = spread(view.points, &x);
    let most = (DOTS / view.points.len().max(1)).clamp(1, DOTS_A_POINT);
    for point in view.points {
        draw_trials(&mut svg, view, point, (&x, &y), spread, most);
    }
    draw_means(&mut svg, view, &x, &y);
    if let Some(x) = x.x(Place::Golden) {
        let hint = format!("golden run: {} %", percent(view.golden_score(), 2));
        svg.mark("golden", Mark::Diamond, (x, y.y(view.golden_score())), Some(&hint));
    }
    x.draw(&mut svg);
    legend(&mut svg, FRAME.left, 18.0, &legend_entries(view, &y));
    Figure { svg: svg.finish(), note: note(view, most) }
}

fn legend_entries(view: &View<'_>, y: &PercentAxis) -> Vec<(Mark, &'static str, &'static str)> {
    let mut entries = vec![(Mark::Diamond, "golden", "golden run")];
    if y.holds(margin_level(view)) {
        entries.push((Mark::Line, "margin-line", "golden less margin"));
    }
    if view.overview.trials > 0 {
        entries.extend([
            (Mark::Circle, "mean", "mean over trials"),
            (Mark::Band, "band", "interval"),
            (Mark::Dot, "trials", "one trial"),
            (Mark::Down, "worst", "worst trial"),
        ]);
    }
    entries
}

fn margin_level(view: &View<'_>) -> f64 {
    view.golden_score() - view.options.margin
}

/// Everything that must fit on the vertical axis.
fn shares<'a>(view: &'a View<'_>) -> impl Iterator<Item = f64> + 'a {
    let metric = view.headline();
    let ends = move |point| interval(point, metric).map(|interval| [interval.lo, interval.hi]);
    let trials = move |point| summary(point, metric).map(|summary| [summary.mean, summary.min, summary.max]);
    let margin = (view.options.margin <= WIDE_MARGIN).then(|| margin_level(view));
    std::iter::once(view.golden_score())
        .chain(margin)
        .chain(view.points.iter().filter_map(ends).flatten())
        .chain(view.points.iter().filter_map(trials).flatten())
}

fn draw_levels(svg: &mut Svg, view: &View<'_>, y: &PercentAxis) {
    let levels = [("golden-line", view.golden_score()), ("margin-line", margin_level(view))];
    for (class, level) in levels.into_iter().filter(|(_, level)| y.holds(*level)) {
        svg.line(class, (FRAME.left, y.y(level)), (FRAME.right, y.y(level)));
    }
}

/// The points of the log part from left to right.
fn in_order<'a>(points: &'a [PointSummary], x: &AmountAxis) -> Vec<(f64, &'a PointSummary)> {
    let on_log = points.iter().filter(|point| x.is_on_log(point.amount));
    let mut placed: Vec<_> =
        on_log.filter_map(|point| Some((x.x(Place::At(point.amount))?, point))).collect();
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    placed
}

/// The band between the interval ends of neighbouring points, broken where a point has no interval.
fn draw_band(svg: &mut Svg, view: &View<'_>, x: &AmountAxis, y: &PercentAxis) {
    let ordered = in_order(view.points, x);
    let metric = view.headline();
    for run in ordered.split(|(_, point)| interval(point, metric).is_none()) {
        let ends: Vec<_> = run.iter().filter_map(|(x, point)| Some((*x, interval(point, metric)?))).collect();
        if ends.len() < 2 {
            continue;
        }
        let upper = ends.iter().map(|(x, interval)| (*x, y.y(interval.hi)));
        let lower = ends.iter().rev().map(|(x, interval)| (*x, y.y(interval.lo)));
        svg.polygon("band", &upper.chain(lower).collect::<Vec<_>>());
    }
}

/// How far to the left and right of its point a dot may lie: never into a neighbour's dots.
fn spread(points: &[PointSummary], x: &AmountAxis) -> f64 {
    let mut places: Vec<f64> = points.iter().filter_map(|point| x.x(Place::At(point.amount))).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let nearest = places.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    (0.3 * nearest).min(SPREAD + ROOM / points.len().max(1) as f64)
}

fn draw_trials(
    svg: &mut Svg,
    view: &View<'_>,
    point: &PointSummary,
    axes: (&AmountAxis, &PercentAxis),
    spread: f64,
    most: usize,
) {
    let (x, y) = axes;
    let Some(middle) = x.x(Place::At(point.amount)) else { return };
    let place = |trial: &ShownTrial| (middle + spread * jitter(trial.trial), y.y(trial.score));
    let shown = evenly(view.shown(point), most);
    if !shown.is_empty() {
        svg.dots("trials", shown.into_iter().map(place));
    }
    let differ = summary(point, view.headline()).is_some_and(|summary| summary.min < summary.max);
    if let Some(worst) = view.worst(point).filter(|_| differ) {
        let hint = format!(
            "worst trial at {}: trial {}, {} %",
            amount(point.amount),
            worst.trial,
            percent(view.score(worst), 2)
        );
        let worst = ShownTrial { trial: worst.trial, score: view.score(worst) };
        svg.mark("worst", Mark::Down, place(&worst), Some(&hint));
    }
}

/// A place within -1 and 1 that depends on the trial's number alone; neighbours in number lie far apart.
fn jitter(trial: u64) -> f64 {
    // The fractional part of multiples of the golden ratio spreads evenly; here in 2^64ths.
    let turn = trial.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (turn >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// At most `most` of the trials, evenly spaced in their order.
fn evenly(trials: &[ShownTrial], most: usize) -> Vec<&ShownTrial> {
    let most = most.min(trials.len());
    (0..most).map(|place| &trials[place * trials.len() / most]).collect()
}

fn draw_means(svg: &mut Svg, view: &View<'_>, x: &AmountAxis, y: &PercentAxis) {
    let metric = view.headline();
    let decimals = view.decimals(metric, 2);
    let line: Vec<(f64, f64)> = in_order(view.points, x)
        .iter()
        .filter_map(|(x, point)| Some((*x, y.y(summary(point, metric)?.mean))))
        .collect();
    if line.len() > 1 {
        svg.polyline("mean-line", &line);
    }
    for point in view.points {
        let (Some(x), Some(summary)) = (x.x(Place::At(point.amount)), summary(point, metric)) else {
            continue;
        };
        if let Some(interval) = interval(point, metric) {
            draw_whisker(svg, "whisker", x, (y.y(interval.lo), y.y(interval.hi)));
        }
        svg.mark("mean", Mark::Circle, (x, y.y(summary.mean)), Some(&point_text(point, metric, decimals)));
    }
}

/// An upright line with short ends.
pub(crate) fn draw_whisker(svg: &mut Svg, class: &str, x: f64, ends: (f64, f64)) {
    svg.line(class, (x, ends.0), (x, ends.1));
    for y in [ends.0, ends.1] {
        svg.line(class, (x - 4.0, y), (x + 4.0, y));
    }
}

fn description(view: &View<'_>) -> String {
    let (metric, name) = (view.headline(), view.headline_name());
    let decimals = view.decimals(metric, 2);
    let golden = percent(view.golden_score(), 2);
    let told = view.points.iter().take(TOLD).map(|point| point_text(point, metric, decimals));
    let points = told.collect::<Vec<_>>().join("; ");
    let more = if view.points.len() > TOLD { "; more points are in table 1" } else { "" };
    format!(
        "Golden run: {golden} %. Mean {name} over trials with its {} interval at each point: {points}{more}.",
        view.confidence()
    )
}

fn note(view: &View<'_>, most: usize) -> String {
    let fullest = view.points.iter().map(|point| point.trials).max().unwrap_or(0);
    if fullest <= most as u64 {
        return String::new();
    }
    format!(
        "Where a point has more than {} trials, that many of them are drawn, chosen by their numbers alone, and the worst.",
        grouped(most as u64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_bounds_and_spreads() {
        let places: Vec<f64> = (0..1000).map(jitter).collect();
        assert!(places.iter().all(|place| (-1.0..=1.0).contains(place)));
        let mean: f64 = places.iter().sum::<f64>() / 1000.0;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((-1.0..=1.0).contains(&jitter(u64::MAX)));
    }
}
