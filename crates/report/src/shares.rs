//! How many images went wrong: SDC-1, images with non-finite outputs and images without output, against rate.

use bitquake_record::{Amount, METRICS, PointSummary};

use crate::accuracy::draw_whisker;
use crate::figure::Figure;
use crate::plot::{AmountAxis, Frame, Mark, PercentAxis, Place, Svg, legend};
use crate::view::{View, interval, point_text, summary};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 370.0;
const FRAME: Frame = Frame { left: 78.0, right: 944.0, top: 46.0, bottom: 312.0 };
/// Points told one by one in the description.
const TOLD: usize = 20;

/// One metric on the plot.
struct Series {
    metric: &'static str,
    name: &'static str,
    mark: Mark,
    classes: [&'static str; 2],
    /// Pixels to the side, so that whiskers do not hide each other.
    aside: f64,
    /// Only shown when some trial has it.
    rare: bool,
}

const SERIES: [Series; 4] = [
    Series {
        metric: "exceeded",
        name: "outputs beyond the threshold",
        mark: Mark::Circle,
        classes: ["sdc", "sdc-line"],
        aside: -3.0,
        rare: false,
    },
    Series {
        metric: "golden_mismatch",
        name: "SDC-1: best class differs from the golden run",
        mark: Mark::Circle,
        classes: ["sdc", "sdc-line"],
        aside: -3.0,
        rare: false,
    },
    Series {
        metric: "nonfinite",
        name: "NaN or infinity among the outputs",
        mark: Mark::Square,
        classes: ["nonfinite", "nonfinite-line"],
        aside: 3.0,
        rare: false,
    },
    Series {
        metric: "due",
        name: "no output (DUE)",
        mark: Mark::Up,
        classes: ["due", "due-line"],
        aside: 9.0,
        rare: true,
    },
];

pub(crate) fn shares_plot(view: &View<'_>) -> Figure {
    let amounts: Vec<Amount> = view.points.iter().map(|point| point.amount).collect();
    let x = AmountAxis::covering(&amounts, false, FRAME);
    let other = if view.golden.distance.is_some() { "golden_mismatch" } else { "exceeded" };
    let is_drawn = |series: &&Series| series.metric != other && (!series.rare || occurs(view, series));
    let series: Vec<&Series> = SERIES.iter().filter(is_drawn).collect();
    let y = PercentAxis::covering(shares(view, &series), FRAME);
    let mut svg = Svg::new(
        "shares",
        WIDTH,
        HEIGHT,
        "Share of images with corrupted outputs against fault rate",
        &description(view, &series),
    );
    y.draw(&mut svg, FRAME, "share of images");
    for series in &series {
        draw_series(&mut svg, view, series, &x, &y);
    }
    x.draw(&mut svg);
    let entries: Vec<_> = series.iter().map(|series| (series.mark, series.classes[0], series.name)).collect();
    legend(&mut svg, FRAME.left, 18.0, &entries);
    Figure { svg: svg.finish(), note: String::new() }
}

fn occurs(view: &View<'_>, series: &Series) -> bool {
    view.points.iter().filter_map(|point| summary(point, series.metric)).any(|summary| summary.max > 0.0)
}

/// Everything that must fit on the vertical axis, which begins at 0.
fn shares<'a>(view: &'a View<'_>, series: &'a [&Series]) -> impl Iterator<Item = f64> + 'a {
    let of_point = |point: &PointSummary, metric| {
        let hi = interval(point, metric).map(|interval| interval.hi);
        [summary(point, metric).map(|summary| summary.mean), hi]
    };
    let all = series.iter().flat_map(move |series| {
        view.points.iter().flat_map(move |point| of_point(point, series.metric)).flatten()
    });
    std::iter::once(0.0).chain(all)
}

fn draw_series(svg: &mut Svg, view: &View<'_>, series: &Series, x: &AmountAxis, y: &PercentAxis) {
    let [class, line_class] = series.classes;
    let decimals = view.decimals(series.metric, 2);
    let mut places = Vec::new();
    for point in view.points {
        let (Some(x), Some(summary)) = (x.x(Place::At(point.amount)), summary(point, series.metric)) else {
            continue;
        };
        places.push((x + series.aside, y.y(summary.mean), point, x));
    }
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    let line: Vec<(f64, f64)> = places
        .iter()
        .filter(|(_, _, point, _)| x.is_on_log(point.amount))
        .map(|(x, y, _, _)| (*x, *y))
        .collect();
    if line.len() > 1 {
        svg.polyline(line_class, &line);
    }
    for (x, height, point, _) in places {
        if let Some(interval) = interval(point, series.metric) {
            draw_whisker(svg, line_class, x, (y.y(interval.lo), y.y(interval.hi)));
        }
        let hint = format!("{} – {}", series.name, point_text(point, series.metric, decimals));
        svg.mark(class, series.mark, (x, height), Some(&hint));
    }
}

fn description(view: &View<'_>, series: &[&Series]) -> String {
    let told = |series: &&Series| {
        let about =
            METRICS.iter().find(|metric| metric.name == series.metric).map_or("", |metric| metric.about);
        let decimals = view.decimals(series.metric, 2);
        let points = view.points.iter().take(TOLD).map(|point| point_text(point, series.metric, decimals));
        format!("Mean {about}: {}.", points.collect::<Vec<_>>().join("; "))
    };
    series.iter().map(told).collect::<Vec<_>>().join(" ")
}
