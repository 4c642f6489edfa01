//! What became of the images at each point: a bar of shares that add up.

use bitquake_record::PointSummary;
use serde::Serialize;

use crate::figure::Figure;
use crate::number::{amount, fixed, percent};
use crate::plot::{Anchor, Frame, Mark, Svg, legend};
use crate::view::{View, summary};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 320.0;
const FRAME: Frame = Frame { left: 78.0, right: 944.0, top: 46.0, bottom: 262.0 };
/// The widest bar.
const WIDEST: f64 = 96.0;
/// Points told one by one in the description.
const TOLD: usize = 20;

/// The pictures.
#[derive(Debug, Serialize)]
pub(crate) struct OutcomeFigures {
    images: Figure,
    /// What protections made of faulty code words.
    words: Option<Figure>,
}

/// A part of a bar.
struct Layer {
    name: &'static str,
    class: &'static str,
    share: fn(&PointSummary) -> Option<f64>,
}

/// A picture with a bar a point.
struct Stack {
    id: &'static str,
    title: &'static str,
    axis: &'static str,
    layers: &'static [Layer],
    /// A narrow bar beside each, for what overlaps the others.
    beside: Option<Layer>,
}

const CLASSES: &[Layer] = &[
    Layer { name: "masked", class: "out-masked", share: |p| mean(p, "masked") },
    Layer { name: "benign", class: "out-benign", share: |p| mean(p, "benign") },
    Layer {
        name: "SDC-1 alone",
        class: "out-sdc1",
        share: |p| Some(mean(p, "golden_mismatch")? - mean(p, "sdc5")?),
    },
    Layer { name: "SDC-5", class: "out-sdc5", share: |p| Some(mean(p, "sdc5")? - mean(p, "due")?) },
    Layer { name: "no output (DUE)", class: "out-due", share: |p| mean(p, "due") },
];

const DISTANCES: &[Layer] = &[
    Layer { name: "masked", class: "out-masked", share: |p| mean(p, "masked") },
    Layer {
        name: "within the threshold",
        class: "out-benign",
        share: |p| Some(mean(p, "within")? - mean(p, "masked")?),
    },
    Layer { name: "beyond", class: "out-sdc5", share: |p| Some(mean(p, "exceeded")? - mean(p, "due")?) },
    Layer { name: "no output (DUE)", class: "out-due", share: |p| mean(p, "due") },
];

const WORDS: &[Layer] = &[
    Layer { name: "corrected (CE)", class: "out-benign", share: |p| of_words(p, "corrected") },
    Layer { name: "detected (DUE)", class: "out-sdc1", share: |p| of_words(p, "detected") },
    Layer { name: "miscorrected", class: "out-sdc5", share: |p| of_words(p, "miscorrected") },
    Layer { name: "unnoticed", class: "out-due", share: |p| of_words(p, "silent") },
];

fn mean(point: &PointSummary, metric: &str) -> Option<f64> {
    summary(point, metric).map(|summary| summary.mean)
}

/// A kind of faulty code words among all of them; none without any.
fn of_words(point: &PointSummary, kind: &str) -> Option<f64> {
    let all: f64 = WORD_KINDS.iter().filter_map(|kind| mean(point, kind)).sum();
    mean(point, kind).filter(|_| all > 0.0).map(|words| words / all)
}

const WORD_KINDS: [&str; 4] = ["corrected", "detected", "miscorrected", "silent"];

/// The pictures, if the records tell the outcomes: files of older versions do not.
pub(crate) fn outcome_figures(view: &View<'_>) -> Option<OutcomeFigures> {
    let nonfinite =
        Layer { name: "of these NaN or infinity", class: "out-nonfinite", share: |p| mean(p, "nonfinite") };
    let images = Stack {
        id: "outcomes",
        title: "What became of the images",
        axis: "share of images",
        layers: if view.golden.distance.is_some() { DISTANCES } else { CLASSES },
        beside: Some(nonfinite),
    };
    let words = Stack {
        id: "words",
        title: "What the protections made of faulty code words",
        axis: "share of faulty words",
        layers: WORDS,
        beside: None,
    };
    let is_told =
        |stack: &Stack, point: &PointSummary| stack.layers.iter().all(|layer| (layer.share)(point).is_some());
    let any = |stack: &Stack| view.points.iter().any(|point| is_told(stack, point));
    any(&images).then(|| OutcomeFigures {
        images: images.figure(view),
        words: any(&words).then(|| words.figure(view)),
    })
}

impl Stack {
    fn figure(&self, view: &View<'_>) -> Figure {
        let mut svg = Svg::new(self.id, WIDTH, HEIGHT, self.title, &self.description(view));
        let y = |share: f64| FRAME.bottom - share.clamp(0.0, 1.0) * (FRAME.bottom - FRAME.top);
        for tick in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
            svg.line("grid", (FRAME.left, y(tick)), (FRAME.right, y(tick)));
            svg.text(
                "tick",
                (FRAME.left - 8.0, y(tick) + 4.0),
                Anchor::End,
                &format!("{} %", fixed(100.0 * tick, 0)),
            );
        }
        svg.upward_text("axis-title", (14.0, 0.5 * (FRAME.top + FRAME.bottom)), self.axis);
        let slot = (FRAME.right - FRAME.left) / view.points.len().max(1) as f64;
        let width = (0.6 * slot).min(WIDEST);
        let every = (46.0 / slot).ceil().max(1.0) as usize;
        for (place, point) in view.points.iter().enumerate() {
            let middle = FRAME.left + slot * (place as f64 + 0.5);
            self.bar(&mut svg, point, middle - 0.5 * width, width);
            if place % every == 0 {
                svg.text("tick", (middle, FRAME.bottom + 18.0), Anchor::Middle, &amount(point.amount));
            }
        }
        svg.line("axis", (FRAME.left, FRAME.bottom), (FRAME.right, FRAME.bottom));
        let middle = 0.5 * (FRAME.left + FRAME.right);
        svg.text("axis-title", (middle, FRAME.bottom + 42.0), Anchor::Middle, view.amount_name());
        let drawn = self.layers.iter().chain(&self.beside);
        let entries: Vec<_> = drawn.map(|layer| (Mark::Bar, layer.class, layer.name)).collect();
        legend(&mut svg, FRAME.left, 18.0, &entries);
        Figure { svg: svg.finish(), note: String::new() }
    }

    /// One bar, from the bottom up. Shares are cut at 0, below which estimates from some of the images may fall.
    fn bar(&self, svg: &mut Svg, point: &PointSummary, left: f64, width: f64) {
        let height = FRAME.bottom - FRAME.top;
        let mut bottom = FRAME.bottom;
        for layer in self.layers {
            let Some(share) = (layer.share)(point) else { return };
            let tall = (height * share.clamp(0.0, 1.0)).min(bottom - FRAME.top);
            if tall > 0.0 {
                bottom -= tall;
                svg.rect(layer.class, (left, bottom), (width, tall), Some(&hint(layer, point, share)));
            }
        }
        if let Some((layer, share)) =
            self.beside.as_ref().and_then(|layer| Some((layer, (layer.share)(point)?)))
            && share > 0.0
        {
            let tall = height * share.min(1.0);
            let corner = (left + width + 2.0, FRAME.top);
            svg.rect(layer.class, corner, (0.1 * width, tall), Some(&hint(layer, point, share)));
        }
    }

    fn description(&self, view: &View<'_>) -> String {
        let told = |point: &PointSummary| {
            let part = |layer: &Layer| {
                Some(format!("{} {} %", layer.name, percent((layer.share)(point)?.max(0.0), 2)))
            };
            let parts: Vec<String> = self.layers.iter().chain(&self.beside).filter_map(part).collect();
            format!(
                "{}: {}",
                amount(point.amount),
                if parts.is_empty() { "nothing".into() } else { parts.join(", ") }
            )
        };
        let points: Vec<String> = view.points.iter().take(TOLD).map(told).collect();
        format!("{}. {}.", self.title, points.join("; "))
    }
}

fn hint(layer: &Layer, point: &PointSummary, share: f64) -> String {
    format!("{} – {}: {} %", amount(point.amount), layer.name, percent(share, 2))
}
