//! The files that people read.

use bitquake_protect::PlannedRule;
use bitquake_record::csv::quoted;
use bitquake_report::{TradeCurve, TradeInput, TradePoint, TradeTable};

use super::contender::ContenderKind;
use super::judge::{Judged, Judgement};

const VERDICT: &str = "Error of the faulty network (mean over fault patterns, with its interval) against the extra bits that protections store. All memories see the \
     same flips in their data. The grey steps are the front: memories that no other beats by fewer bits and a lower error.";

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A row a memory.
pub(super) fn csv(judgement: &Judgement) -> String {
    let mut text = String::from(
        "memory,kind,guarded,budget,check_bits,overhead,trials,clean,err,err_ci_lo,err_ci_hi,difference,difference_ci_lo,difference_ci_hi,p_value,residual,coverage,\
         coverage_ci_lo,coverage_ci_hi,damage_saved,on_front,beaten\n",
    );
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for judged in &judgement.memories {
        let contender = &judged.contender;
        let (kind, budget, saved) = match &contender.kind {
            ContenderKind::Unprotected => ("unprotected", None, None),
            ContenderKind::Uniform => ("uniform", None, None),
            ContenderKind::Planned { budget, plan } => ("planned", Some(*budget), plan.saved_share()),
        };
        let difference = judged.difference.and_then(|difference| difference.interval);
        let cells = [
            quoted(&contender.name).into_owned(),
            kind.to_owned(),
            contender.guarded.to_string(),
            number(budget),
            contender.check_bits.to_string(),
            judged.overhead.to_string(),
            judged.trials.to_string(),
            judged.clean.to_string(),
            judged.error.to_string(),
            number(judged.interval.map(|ends| ends.lo)),
            number(judged.interval.map(|ends| ends.hi)),
            number(judged.difference.map(|difference| difference.value)),
            number(difference.map(|ends| ends.lo)),
            number(difference.map(|ends| ends.hi)),
            number(judged.test.map(|test| test.p_value)),
            judged.residue.bits.to_string(),
            judged.residue.coverage.to_string(),
            number(judged.residue.coverage_ends.map(|ends| ends[0])),
            number(judged.residue.coverage_ends.map(|ends| ends[1])),
            number(saved),
            judged.standing.is_on_front.to_string(),
            judged.standing.is_beaten.to_string(),
        ];
        text += &cells.join(",");
        text.push('\n');
    }
    text
}

/// The page: the picture, what memories came to, and what plans protect.
pub(super) fn page(judgement: &Judgement) -> TradeInput<'_> {
    let is_planned = |judged: &&Judged| matches!(judged.contender.kind, ContenderKind::Planned { .. });
    let curve = |name: &str, memories: Vec<&Judged>| TradeCurve {
        name: name.to_owned(),
        points: memories.into_iter().map(drawn).collect(),
    };
    let plans = |name: &str, guarded: bool| {
        let mut memories: Vec<&Judged> = judgement
            .memories
            .iter()
            .filter(is_planned)
            .filter(|one| one.contender.guarded == guarded)
            .collect();
        memories.sort_by(|a, b| a.overhead.total_cmp(&b.overhead));
        curve(name, memories)
    };
    let others = judgement.memories.iter().filter(|judged| !is_planned(judged));
    let curves = others.map(|judged| curve(&judged.contender.name, vec![judged]));
    let planned = [plans("planned", false), plans("planned, and guards", true)];
    let planned = planned.into_iter().filter(|curve| !curve.points.is_empty());
    let tables = judgement.memories.iter().filter(|judged| !judged.contender.guarded).filter_map(plan_table);
    TradeInput {
        bitquake: env!("CARGO_PKG_VERSION"),
        over: "bitquake protect",
        title: &judgement.name,
        verdict: VERDICT,
        price: "extra bits",
        notes: notes(judgement),
        axis: "extra bits, in percent of the memory (root scale)".into(),
        has_root_axis: true,
        curves: curves.chain(planned).collect(),
        tables: [memories_table(judgement)].into_iter().chain(tables).collect(),
    }
}

fn drawn(judged: &Judged) -> TradePoint {
    TradePoint {
        cost: 100.0 * judged.overhead,
        error: judged.error,
        ends: judged.interval.map(|ends| [ends.lo, ends.hi]),
        is_on_front: judged.standing.is_on_front,
        what: judged.contender.name.clone(),
    }
}

fn notes(judgement: &Judgement) -> Vec<String> {
    let bare = &judgement.memories[0];
    let mut notes = vec![
        format!(
            "Bit error rate {:e}, {} fault patterns; {} bits of memory without protections; error without faults {}.",
            judgement.rate,
            bare.trials,
            judgement.bits,
            percent(bare.clean)
        ),
        format!(
            "Plans follow {}. The front is one of means; each p is of one test, as if it were the only one.",
            judgement.damage
        ),
    ];
    notes.extend(judgement.warnings.iter().map(|warning| format!("Note: {warning}.")));
    notes
}

fn memories_table(judgement: &Judgement) -> TradeTable {
    let between = |ends: Option<[f64; 2]>| {
        ends.map_or_else(String::new, |[lo, hi]| format!(" ({:.2} to {:.2})", 100.0 * lo, 100.0 * hi))
    };
    let row = |judged: &Judged| {
        let difference = judged.difference.map_or_else(String::new, |difference| {
            let ends = difference.interval.map(|ends| [ends.lo, ends.hi]);
            format!("{:+.2}{}", 100.0 * difference.value, between(ends))
        });
        let ends = judged.interval.map(|ends| [ends.lo, ends.hi]);
        vec![
            judged.contender.name.clone(),
            percent(judged.overhead),
            format!("{:.2}{}", 100.0 * judged.error, between(ends)),
            difference,
            judged.test.map_or_else(String::new, |test| format!("{:.1e}", test.p_value)),
            format!("{:.1}", judged.residue.bits),
            percent(judged.residue.coverage),
            judged.standing.to_string(),
        ]
    };
    TradeTable {
        title: "The memories".into(),
        caption: "Errors in percent, with their intervals. Difference: to the unprotected memory in the same trials, in points; p: the sign-flip test of none. Wrong \
                  bits: data bits that the network sees wrong, mean over trials; covered: the share of the unprotected memory's that are gone."
            .into(),
        head: ["memory", "extra bits", "error", "difference", "p", "wrong bits", "covered", "rank"]
            .map(str::to_owned)
            .to_vec(),
        rows: judgement.memories.iter().map(row).collect(),
    }
}

/// What a plan protects; none of a memory without a plan.
fn plan_table(judged: &Judged) -> Option<TradeTable> {
    let ContenderKind::Planned { plan, .. } = &judged.contender.kind else { return None };
    let row = |rule: &PlannedRule| {
        let over = rule.protection.data_bits.map_or_else(String::new, |bits| format!(" over {bits}"));
        vec![
            rule.tensor.clone(),
            format!("{}{over}", rule.protection.kind),
            rule.protection.bits.to_string(),
            rule.check_bits.to_string(),
            percent(if plan.damage > 0.0 { rule.saves / plan.damage } else { 0.0 }),
        ]
    };
    Some(TradeTable {
        title: judged.contender.name.clone(),
        caption: format!(
            "{} of the memory's bits more. Of the damage that is expected without protection, {} is expected to be gone.",
            percent(judged.overhead),
            plan.saved_share().map_or_else(|| "nothing".into(), percent)
        ),
        head: ["tensor", "protection", "bits", "check bits", "damage saved"].map(str::to_owned).to_vec(),
        rows: plan.rules.iter().map(row).collect(),
    })
}
