//! The records, arranged for showing.

use bitquake_record::{
    Amount, Golden, IntervalRule, Metric, Overview, PointSummary, Sampling, ShownTrial, StopGoal,
    SummaryOptions, TrialRecord,
};
use bitquake_stats::{Interval, Summary};

use crate::number::{NONE, amount, counted, fixed, grouped, percent, percent_decimals, trimmed};

/// What is shown of a campaign.
pub(crate) struct View<'a> {
    pub(crate) overview: &'a Overview,
    pub(crate) golden: &'a Golden,
    pub(crate) points: &'a [PointSummary],
    pub(crate) options: SummaryOptions,
    pub(crate) exposed: Exposed,
    /// A host ran the network, so it alone can run a trial again.
    pub(crate) is_hosted: bool,
    /// Trials wanted at each point, as far as the configuration tells.
    pub(crate) planned: Option<u64>,
}

impl<'a> View<'a> {
    pub(crate) fn new(overview: &'a Overview) -> Self {
        Self {
            overview,
            golden: &overview.golden,
            points: &overview.points,
            options: overview.options,
            exposed: Exposed::by(&overview.campaign),
            is_hosted: is_hosted(&overview.campaign),
            planned: planned_trials(&overview.campaign).filter(|_| overview.options.stop.is_none()),
        }
    }

    /// Whether intervals hold at every number of trials, because a rule looked at the results.
    pub(crate) fn is_anytime(&self) -> bool {
        self.options.rule == IntervalRule::Anytime
    }

    /// Whether trials are drawn with unequal probabilities.
    pub(crate) fn is_weighted(&self) -> bool {
        self.golden.points.iter().any(|plan| plan.sampling == Sampling::Stratified)
    }

    /// Whether the trials of some points run on some of the images.
    pub(crate) fn has_subsets(&self) -> bool {
        self.golden.points.iter().any(|plan| plan.images.is_some())
    }

    /// What kind of intervals means have, before the word.
    pub(crate) fn interval_kind(&self) -> &'static str {
        if self.is_anytime() { "anytime-valid" } else { "t" }
    }

    /// The same of the share of dropped trials.
    pub(crate) fn dropped_kind(&self) -> &'static str {
        if self.is_anytime() { "beta-binomial mixture" } else { "Clopper-Pearson" }
    }

    /// What the stopping rule asks for: `half width of err at most 0.5 % (95 % confidence)`.
    pub(crate) fn rule_text(&self) -> Option<String> {
        let StopGoal { metric, rule } = self.options.stop?;
        let absolute = rule.half_width.map(|width| format!("at most {}", fine_percent(width)));
        let relative = rule.relative.map(|width| format!("at most {} of the estimate", fine_percent(width)));
        let wanted: Vec<String> = [absolute, relative].into_iter().flatten().collect();
        if wanted.is_empty() {
            return Some("the time alone".into());
        }
        let confidence = fine_percent(rule.confidence);
        Some(format!("half width of {metric} {} ({confidence} confidence)", wanted.join(" and ")))
    }

    /// Points at which the rule is met, and those at which it is not.
    pub(crate) fn met(&self) -> (Vec<&'a PointSummary>, Vec<&'a PointSummary>) {
        let is_met = |point: &&PointSummary| point.stop.is_some_and(|stop| stop.is_met);
        self.points.iter().partition(is_met)
    }

    /// Trials of a point to draw: all, or a sample of many.
    pub(crate) fn shown(&self, point: &PointSummary) -> &'a [ShownTrial] {
        self.overview.shown.get(&point.point).map_or(&[], Vec::as_slice)
    }

    /// The trial of a point with the lowest score.
    pub(crate) fn worst(&self, point: &PointSummary) -> Option<&'a TrialRecord> {
        self.overview.worst.get(&point.point)
    }

    /// Whether trials have a score; where not, the numbers of a host's own are all that there is.
    pub(crate) fn has_score(&self) -> bool {
        self.golden.score().is_some()
    }

    /// A trial's score: its accuracy, or the share within the threshold for models that are no classifiers. Trials that are kept for
    /// being the worst have one.
    pub(crate) fn score(&self, trial: &TrialRecord) -> f64 {
        trial.score(&self.golden.metrics).unwrap_or_default()
    }

    /// The score to tell of a single trial: one on some of the images by those alone, since its estimate for all may leave 0 to 100 %.
    pub(crate) fn told_score(&self, trial: &TrialRecord) -> f64 {
        if trial.clean.is_some() && trial.distance.is_none() { trial.accuracy() } else { self.score(trial) }
    }

    /// The metric that the campaign is told by, which is a trial's score.
    pub(crate) fn headline(&self) -> &'static str {
        if self.golden.distance.is_some() { "within" } else { "accuracy" }
    }

    /// What to call it.
    pub(crate) fn headline_name(&self) -> &'static str {
        if self.golden.distance.is_some() { "share within the threshold" } else { "accuracy" }
    }

    /// What an image's failure is called in a column.
    pub(crate) fn failure_name(&self) -> &'static str {
        if self.golden.distance.is_some() { "beyond" } else { "SDC-1" }
    }

    /// The metric of images that failed.
    pub(crate) fn failure(&self) -> &'static str {
        if self.golden.distance.is_some() { "exceeded" } else { "golden_mismatch" }
    }

    /// Whether it is known how many images have corrupted outputs.
    pub(crate) fn has_shares(&self) -> bool {
        ["golden_mismatch", "nonfinite"].iter().any(|count| self.golden.metrics.knows(count))
    }

    /// The point and trial with the lowest accuracy of all.
    pub(crate) fn worst_of_all(&self) -> Option<(&'a PointSummary, &'a TrialRecord)> {
        let worst = self.points.iter().filter_map(|point| Some((point, self.worst(point)?)));
        worst.min_by(|a, b| self.score(a.1).total_cmp(&self.score(b.1)))
    }

    /// The golden run's score; 0 where there is none, for places that show nothing then.
    pub(crate) fn golden_score(&self) -> f64 {
        self.golden.score().unwrap_or_default()
    }

    /// Whether the mean accuracy of a point lies no more than the margin below the golden run's; none without trials.
    pub(crate) fn is_within_margin(&self, point: &PointSummary) -> Option<bool> {
        // The same slack as where dropped trials are counted.
        summary(point, self.headline()).map(|s| s.mean >= self.golden_score() - self.options.margin - 1e-12)
    }

    /// Finished trials of all points, and how many there are to be.
    pub(crate) fn progress(&self) -> (u64, Option<u64>) {
        let done = self.points.iter().fold(0_u64, |sum, point| sum.saturating_add(point.trials));
        (done, self.planned.map(|planned| planned.saturating_mul(self.points.len() as u64)))
    }

    /// Whether some trial has the metric: those of protections exist on protected memory alone.
    pub(crate) fn has_metric(&self, metric: &Metric) -> bool {
        self.points.iter().any(|point| summary(point, metric.name).is_some())
    }

    /// Whether the memory is protected.
    pub(crate) fn is_protected(&self) -> bool {
        self.overview.is_protected
    }

    /// Whether trials were drawn given that they have a fault.
    pub(crate) fn is_conditioned(&self) -> bool {
        self.points.iter().any(|point| point.weight.is_some())
    }

    /// Whether some point has fewer trials than wanted.
    pub(crate) fn is_partial(&self) -> bool {
        self.planned.is_some_and(|planned| self.points.iter().any(|point| point.trials < planned))
    }

    /// `50`, or `12 of 50`.
    pub(crate) fn trials_text(&self, point: &PointSummary) -> String {
        of_planned(point.trials, self.planned)
    }

    /// `0.95` as `95 %`.
    pub(crate) fn confidence(&self) -> String {
        short_percent(self.options.confidence)
    }

    /// `0.01` as `1 percentage point`.
    pub(crate) fn margin(&self) -> String {
        let text = short_number(100.0 * self.options.margin);
        let plural = if text == "1" { "" } else { "s" };
        format!("{text} percentage point{plural}")
    }

    /// `bit error rate`, `fault count` and so on.
    pub(crate) fn amount_name(&self) -> &'static str {
        match self.points.first().map(|point| point.amount) {
            Some(Amount::Count(_)) => "fault count",
            Some(Amount::Fraction(_)) => "share of elements",
            Some(Amount::Voltage(_)) => "supply voltage",
            Some(Amount::Rate(_)) | None => "bit error rate",
        }
    }

    /// Decimals for a share in percent that suit all points: enough for the widths of its intervals and its small values.
    pub(crate) fn decimals(&self, metric: &str, least: usize) -> usize {
        let of_point = |point: &PointSummary| {
            let metric = point.metric(metric)?;
            let width = metric.interval.map_or(0.0, |interval| interval.half_width());
            Some([width, metric.summary?.mean])
        };
        percent_decimals(self.points.iter().filter_map(of_point).flatten(), least)
    }
}

/// `50`, or `12 of 50` when that is not all.
pub(crate) fn of_planned(done: u64, planned: Option<u64>) -> String {
    match planned.filter(|planned| done < *planned) {
        Some(planned) => format!("{} of {}", grouped(done), grouped(planned)),
        None => grouped(done),
    }
}

/// `50 trials`, or `12 of 50 trials`.
pub(crate) fn trials_of_planned(done: u64, planned: Option<u64>) -> String {
    match planned.filter(|planned| done < *planned) {
        Some(planned) => format!("{} of {}", grouped(done), counted(planned, "trial")),
        None => counted(done, "trial"),
    }
}

/// What the faults of a campaign hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposed {
    /// What is stored of the model.
    Memory,
    /// Activations or inputs, while the model runs.
    Values,
    /// Both.
    Both,
}

impl Exposed {
    /// What a configuration says; the memory, as is the default, where it cannot be read.
    fn by(campaign: &str) -> Self {
        let table: toml::Table = campaign.parse().unwrap_or_default();
        let is_memory = |section: &toml::Value| {
            section.get("target").and_then(toml::Value::as_str).is_none_or(|target| target == "weights")
        };
        let fault = table.get("fault");
        let also = fault.and_then(|fault| fault.get("also"));
        match (fault.is_none_or(is_memory), also.map(is_memory)) {
            (first, Some(second)) if first != second => Self::Both,
            (true, _) => Self::Memory,
            (false, _) => Self::Values,
        }
    }
}

/// Whether a configuration names a host.
fn is_hosted(campaign: &str) -> bool {
    campaign.parse::<toml::Table>().is_ok_and(|table| table.contains_key("host"))
}

/// The number of trials a point that the configuration asks for.
fn planned_trials(campaign: &str) -> Option<u64> {
    let table: toml::Table = campaign.parse().ok()?;
    let trials = table.get("run")?.get("trials")?.as_integer()?;
    u64::try_from(trials).ok()
}

/// A metric's summary over the trials of a point.
pub(crate) fn summary(point: &PointSummary, metric: &str) -> Option<Summary> {
    point.metric(metric)?.summary
}

/// A metric's interval for the mean over the trials of a point.
pub(crate) fn interval(point: &PointSummary, metric: &str) -> Option<Interval> {
    point.metric(metric)?.interval
}

/// Whether several trials all have the same accuracy although faults could have told them apart: then the t interval has no
/// width and says nothing.
pub(crate) fn is_degenerate(point: &PointSummary) -> bool {
    let headline = interval(point, "accuracy").or(interval(point, "within"));
    !point.amount.is_fault_free() && headline.is_some_and(|interval| interval.is_degenerate())
}

/// `[90.8, 91.5]`, shares in percent.
pub(crate) fn interval_text(interval: Interval, decimals: usize) -> String {
    format!("[{}, {}]", percent(interval.lo, decimals), percent(interval.hi, decimals))
}

/// `91.2 % [90.8, 91.5]`: the mean of a share with its interval.
pub(crate) fn estimate_text(point: &PointSummary, metric: &str, decimals: usize) -> String {
    let Some(summary) = summary(point, metric) else { return NONE.into() };
    let mean = format!("{} %", percent(summary.mean, decimals));
    match interval(point, metric) {
        Some(interval) => format!("{mean} {}", interval_text(interval, decimals)),
        None => mean,
    }
}

/// One point in words, for those who cannot see the plot: `10⁻⁵: 91.2 % [90.8, 91.5], 50 trials`.
pub(crate) fn point_text(point: &PointSummary, metric: &str, decimals: usize) -> String {
    let estimate = estimate_text(point, metric, decimals);
    format!("{}: {estimate}, {}", amount(point.amount), counted(point.trials, "trial"))
}

/// A share in percent with no more decimals than it has, at most 4.
pub(crate) fn short_percent(share: f64) -> String {
    format!("{} %", short_number(100.0 * share))
}

/// The same with up to 8 decimals, for widths.
fn fine_percent(share: f64) -> String {
    format!("{} %", trimmed(&fixed(100.0 * share, 8)))
}

fn short_number(value: f64) -> String {
    trimmed(&fixed(value, 4)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_tells_how_many_trials_there_are_to_be() {
        let cases = [
            ("[run]\ntrials = 50\n", Some(50)),
            ("[run]\ntrials = -1\n", None),
            ("[run]\ntrials = \"many\"\n", None),
            ("run = 3", None),
            ("no toml at all", None),
            ("", None),
        ];
        for (campaign, trials) in cases {
            assert_eq!(planned_trials(campaign), trials, "{campaign}");
        }
    }

    #[test]
    fn the_configuration_tells_what_is_hit() {
        let cases = [
            ("[fault]\nrates = [0.1]", Exposed::Memory),
            ("[fault]\ntarget = \"weights\"", Exposed::Memory),
            ("[fault]\ntarget = \"activations\"", Exposed::Values),
            ("[fault]\ntarget = \"inputs\"", Exposed::Values),
            ("[fault]\n[fault.also]\ntarget = \"inputs\"", Exposed::Both),
            ("[fault]\ntarget = \"activations\"\n[fault.also]\ncounts = [1]", Exposed::Both),
            ("no toml at all", Exposed::Memory),
            ("", Exposed::Memory),
        ];
        for (campaign, exposed) in cases {
            assert_eq!(Exposed::by(campaign), exposed, "{campaign}");
        }
    }

    #[test]
    fn shares_without_needless_zeros() {
        let cases = [(0.95, "95 %"), (0.999, "99.9 %"), (0.01, "1 %"), (1.0, "100 %"), (0.000_05, "0.005 %")];
        for (share, text) in cases {
            assert_eq!(short_percent(share), text);
        }
    }

    #[test]
    fn progress_is_told_when_something_is_missing() {
        let cases =
            [(50, Some(50), "50"), (12, Some(50), "12 of 50"), (60, Some(50), "60"), (1200, None, "1,200")];
        for (done, planned, text) in cases {
            assert_eq!(of_planned(done, planned), text);
        }
    }
}
