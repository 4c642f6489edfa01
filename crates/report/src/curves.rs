//! Several campaigns on one page: error against the amount of faults, one curve a campaign.

use bitquake_record::{Amount, Golden, Overview, PointSummary};
use bitquake_stats::Interval;
use serde::Serialize;

use crate::accuracy::draw_whisker;
use crate::error::ReportError;
use crate::figure::Figure;
use crate::number::{NONE, amount, fixed, grouped, percent, percent_decimals};
use crate::page::render;
use crate::plot::{AmountAxis, Frame, PercentAxis, Place, Svg};
use crate::series::{LEGEND_ROW, MOST_CURVES, Style, draw_legend, legend_rows};
use crate::view::{interval, summary};

/// Separates the name of a panel from that of a curve in a campaign's name.
const PANEL: &str = " - ";
const METRIC: &str = "err";
const WIDTH: f64 = 960.0;
/// Height of the axes.
const PLOT_HEIGHT: f64 = 380.0;
const MARGIN: f64 = 20.0;
/// Distance between the whiskers of two curves at the same amount.
const SHIFT: f64 = 2.5;

/// The whole page, self-contained like [`html`](crate::html()): for each panel a plot of the test error with its intervals and
/// a table of the same numbers, and a table that says what each campaign is.
///
/// A campaign's name is the name of its curve. With ` - ` in it, what stands before is the panel, so that `LeNet-5, 8 bits - RandBET`
/// is drawn with the other campaigns on `LeNet-5, 8 bits`. Panels and curves keep the order given.
///
/// # Errors
/// [`ReportError::NoCampaigns`] for none, [`ReportError::NotErrors`] for a campaign without labels or accuracy, [`ReportError::MixedAmounts`]
/// where a panel has amounts of several kinds, and [`ReportError::TooManyCurves`] for more than 12 in one panel.
pub fn curves_html(campaigns: &[&Overview]) -> Result<String, ReportError> {
    let first = campaigns.first().ok_or(ReportError::NoCampaigns)?;
    if let Some(other) = campaigns.iter().find(|campaign| !has_error(&campaign.golden)) {
        return Err(ReportError::NotErrors { campaign: other.golden.name.clone() });
    }
    let panels: Vec<Panel<'_>> = grouped_by_panel(campaigns);
    let sections =
        panels.iter().enumerate().map(|(k, panel)| panel.section(k)).collect::<Result<Vec<_>, _>>()?;
    let campaigns = campaigns.iter().map(|campaign| CampaignRow::new(campaign)).collect();
    render("curves.html", &Page { bitquake: &first.golden.bitquake, sections, campaigns })
}

/// Whether a campaign has a test error.
fn has_error(golden: &Golden) -> bool {
    golden.distance.is_none() && golden.score().is_some()
}

/// The mean test error of a point with its interval: over all trials, also where those drawn have at least one fault.
fn error(point: &PointSummary) -> Option<(f64, Option<Interval>)> {
    let overall = point.metric(METRIC).and_then(|metric| metric.overall);
    let of_trials = || Some((summary(point, METRIC)?.mean, interval(point, METRIC)));
    overall.map(|overall| (overall.mean, overall.interval)).or_else(of_trials)
}

/// What `curves.html` shows.
#[derive(Debug, Serialize)]
struct Page<'a> {
    bitquake: &'a str,
    sections: Vec<Section>,
    campaigns: Vec<CampaignRow<'a>>,
}

#[derive(Debug, Serialize)]
struct Section {
    title: String,
    figure: Figure,
    amount_name: &'static str,
    curves: Vec<String>,
    rows: Vec<Row>,
}

/// One amount with the error of every curve.
#[derive(Debug, Serialize)]
struct Row {
    amount: String,
    cells: Vec<Cell>,
}

#[derive(Debug, Serialize)]
struct Cell {
    mean: String,
    interval: String,
}

/// What a campaign is, in one row.
#[derive(Debug, Serialize)]
struct CampaignRow<'a> {
    name: &'a str,
    model: &'a str,
    memory: &'a str,
    images: String,
    trials: String,
    confidence: String,
    id: String,
}

impl<'a> CampaignRow<'a> {
    fn new(campaign: &'a Overview) -> Self {
        let golden = &campaign.golden;
        Self {
            name: &golden.name,
            model: &golden.storage.model,
            memory: &golden.storage.memory,
            images: grouped(golden.metrics.images),
            trials: grouped(campaign.trials),
            confidence: format!("{} %", percent(campaign.options.confidence, 0)),
            id: golden.campaign.chars().take(12).collect(),
        }
    }
}

/// Campaigns that are drawn together.
struct Panel<'a> {
    title: &'a str,
    curves: Vec<Curve<'a>>,
}

struct Curve<'a> {
    name: &'a str,
    campaign: &'a Overview,
}

fn grouped_by_panel<'a>(campaigns: &[&'a Overview]) -> Vec<Panel<'a>> {
    let mut panels: Vec<Panel<'a>> = Vec::new();
    for campaign in campaigns {
        let whole = campaign.golden.name.as_str();
        let (title, name) = whole.rsplit_once(PANEL).unwrap_or(("", whole));
        let curve = Curve { name, campaign };
        match panels.iter_mut().find(|panel| panel.title == title) {
            Some(panel) => panel.curves.push(curve),
            None => panels.push(Panel { title, curves: vec![curve] }),
        }
    }
    panels
}

impl Panel<'_> {
    fn section(&self, place: usize) -> Result<Section, ReportError> {
        self.check()?;
        let amounts = self.amounts();
        let rows = std::iter::once(self.clean_row()).chain(amounts.iter().map(|amount| self.row(*amount)));
        Ok(Section {
            title: if self.title.is_empty() { "Error under faults".into() } else { self.title.to_owned() },
            figure: Figure { svg: self.plot(place, &amounts), note: String::new() },
            amount_name: amount_name(amounts.first()),
            curves: self.curves.iter().map(|curve| curve.name.to_owned()).collect(),
            rows: rows.collect(),
        })
    }

    fn check(&self) -> Result<(), ReportError> {
        let panel = || self.title.to_owned();
        let curves = self.curves.len();
        if curves > MOST_CURVES {
            return Err(ReportError::TooManyCurves { panel: panel(), curves, most: MOST_CURVES });
        }
        let mut kinds = self.points().map(|point| point.amount.kind());
        let first = kinds.next();
        match kinds.find(|kind| Some(*kind) != first) {
            Some(second) => {
                Err(ReportError::MixedAmounts { panel: panel(), kinds: [first.unwrap_or_default(), second] })
            }
            None => Ok(()),
        }
    }

    fn points(&self) -> impl Iterator<Item = &PointSummary> {
        self.curves.iter().flat_map(|curve| &curve.campaign.points)
    }

    /// Every amount that some curve has, ascending, each once.
    fn amounts(&self) -> Vec<Amount> {
        let mut amounts: Vec<Amount> = self.points().map(|point| point.amount).collect();
        amounts.sort_by(|a, b| a.value().total_cmp(&b.value()));
        amounts.dedup_by(|a, b| a.value() == b.value());
        amounts
    }

    fn clean_row(&self) -> Row {
        let cell = |curve: &Curve<'_>| Cell { mean: percent(curve.clean(), 2), interval: String::new() };
        Row { amount: "no faults".into(), cells: self.curves.iter().map(cell).collect() }
    }

    fn row(&self, at: Amount) -> Row {
        Row { amount: amount(at), cells: self.curves.iter().map(|curve| curve.cell(at)).collect() }
    }

    fn plot(&self, place: usize, amounts: &[Amount]) -> String {
        let names = self.curves.iter().map(|curve| curve.name);
        let legend = legend_rows(names, WIDTH - 2.0 * MARGIN - 78.0);
        let top = 12.0 + LEGEND_ROW * legend.len() as f64;
        let frame = Frame { left: 78.0, right: WIDTH - 16.0, top, bottom: top + PLOT_HEIGHT - 70.0 };
        let x = AmountAxis::covering(amounts, true, frame);
        let y = PercentAxis::covering(self.shares(), frame);
        let title = format!("Test error against the amount of faults {}", self.title);
        let mut svg =
            Svg::new(format!("curves{place}"), WIDTH, top + PLOT_HEIGHT, &title, &self.description());
        y.draw(&mut svg, frame, "test error");
        for (row, entries) in legend.iter().enumerate() {
            draw_legend(&mut svg, frame.left, 14.0 + LEGEND_ROW * row as f64, entries);
        }
        for (k, curve) in self.curves.iter().enumerate() {
            let shift = SHIFT * (k as f64 - 0.5 * (self.curves.len() - 1) as f64);
            curve.draw(&mut svg, &Style::of(k), (&x, &y), shift);
        }
        x.draw(&mut svg);
        svg.finish()
    }

    fn shares(&self) -> impl Iterator<Item = f64> {
        let clean = self.curves.iter().map(Curve::clean);
        let told = self.points().filter_map(error).flat_map(|(mean, ends)| {
            std::iter::once(mean).chain(ends.into_iter().flat_map(|ends| [ends.lo, ends.hi]))
        });
        clean.chain(told)
    }

    fn description(&self) -> String {
        let curve = |curve: &Curve<'_>| {
            let points = curve.campaign.points.iter().filter_map(|point| {
                Some(format!("{} % at {}", percent(error(point)?.0, 2), amount(point.amount)))
            });
            let points: Vec<String> = points.collect();
            format!("{}: clean {} %, {}", curve.name, percent(curve.clean(), 2), points.join(", "))
        };
        self.curves.iter().map(curve).collect::<Vec<_>>().join("; ") + "."
    }
}

impl Curve<'_> {
    /// The error of the golden run.
    fn clean(&self) -> f64 {
        1.0 - self.campaign.golden.metrics.known_accuracy().unwrap_or(1.0)
    }

    fn point(&self, at: Amount) -> Option<&PointSummary> {
        self.campaign.points.iter().find(|point| point.amount.value() == at.value())
    }

    fn cell(&self, at: Amount) -> Cell {
        let Some((mean, ends)) = self.point(at).and_then(error) else {
            return Cell { mean: NONE.into(), interval: String::new() };
        };
        let widths = ends.iter().map(|ends| ends.half_width());
        let decimals = percent_decimals(widths.filter(|width| *width > 0.0), 2);
        let text = |share: f64| fixed(100.0 * share, decimals);
        Cell {
            mean: percent(mean, decimals),
            interval: ends.map_or(String::new(), |ends| format!("{} – {}", text(ends.lo), text(ends.hi))),
        }
    }

    fn draw(&self, svg: &mut Svg, style: &Style, axes: (&AmountAxis, &PercentAxis), shift: f64) {
        let (x, y) = axes;
        let mut line = Vec::new();
        for point in &self.campaign.points {
            let (Some(middle), Some((mean, ends))) = (x.x(Place::At(point.amount)), error(point)) else {
                continue;
            };
            let at = (middle + shift, y.y(mean));
            if let Some(ends) = ends {
                draw_whisker(svg, &style.line, at.0, (y.y(ends.lo), y.y(ends.hi)));
            }
            if x.is_on_log(point.amount) {
                line.push(at);
            }
            let hint = format!("{} at {}: {} %", self.name, amount(point.amount), percent(mean, 2));
            svg.mark(&style.mark_class, style.mark, at, Some(&hint));
        }
        line.sort_by(|a, b| a.0.total_cmp(&b.0));
        if line.len() > 1 {
            svg.polyline(&style.line, &line);
        }
        if let Some(middle) = x.x(Place::Golden) {
            let hint = format!("{}, no faults: {} %", self.name, percent(self.clean(), 2));
            svg.mark(&style.mark_class, style.mark, (middle + shift, y.y(self.clean())), Some(&hint));
        }
    }
}

fn amount_name(first: Option<&Amount>) -> &'static str {
    match first {
        Some(Amount::Count(_)) => "flips",
        Some(Amount::Fraction(_)) => "share of elements",
        Some(Amount::Voltage(_)) => "supply voltage",
        Some(Amount::Rate(_)) | None => "bit error rate",
    }
}
