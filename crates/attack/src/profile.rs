//! `profile.csv`: one row a flip.

use bitquake_record::csv::quoted;
use bitquake_stats::StatsError;

use crate::csv::or_empty;
use crate::evaluate::Evaluation;
use crate::record::{AttackRecords, FlipRecord, StepRecord, TrialLines};

/// The columns. Levels are what the network computes with; accuracies are shares of `images`, not percent, with Clopper and Pearson's interval, and
/// the drop is from the clean network on the same images. The last columns stand in the last row of a step, if the network was judged
/// after it; losses in every row of a step.
const COLUMNS: &str = "trial,step,flip,tensor_index,tensor,element,bit,word_before,word_after,level_before,level_after,\
loss_before,loss_after,distance,images,accuracy,ci_method,ci_confidence,accuracy_ci_lo,accuracy_ci_hi,accuracy_drop,success";

/// The profile of all trials as CSV. `tensors` are the attacked ones, in their order.
pub(crate) fn profile(
    records: &AttackRecords,
    tensors: &[&str],
    confidence: f64,
) -> Result<String, StatsError> {
    let mut text = format!("{COLUMNS}\n");
    for trial in &records.trials {
        for step in &trial.steps {
            step_rows(&mut text, trial, step, tensors, confidence)?;
        }
    }
    Ok(text)
}

fn step_rows(
    text: &mut String,
    trial: &TrialLines,
    step: &StepRecord,
    tensors: &[&str],
    confidence: f64,
) -> Result<(), StatsError> {
    let last = step.flips.len() as u64;
    for (number, flip) in (1..).zip(&step.flips) {
        let index = tensors.iter().position(|tensor| *tensor == flip.tensor);
        let made = step.flip_count - last + number;
        let mut cells =
            vec![trial.begin.trial.to_string(), step.step.to_string(), made.to_string(), or_empty(index)];
        cells.extend(flip_cells(flip));
        cells.extend([or_empty(step.loss_before), or_empty(step.loss)]);
        let is_last = number == last;
        cells.push(or_empty(is_last.then_some(step.distance)));
        let judged = step
            .full
            .map(|full| (full, trial.begin.full))
            .or(step.sample.map(|part| (part, trial.begin.sample)));
        cells.extend(evaluation_cells(judged.filter(|_| is_last), confidence)?);
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    Ok(())
}

fn flip_cells(flip: &FlipRecord) -> [String; 7] {
    [
        quoted(&flip.tensor).into_owned(),
        flip.element.to_string(),
        flip.bit.to_string(),
        format!("{:#x}", flip.word_before),
        format!("{:#x}", flip.word_after),
        or_empty(flip.level_before),
        or_empty(flip.level_after),
    ]
}

/// Of the faulty network and of the clean one, on the same images.
fn evaluation_cells(
    judged: Option<(Evaluation, Evaluation)>,
    confidence: f64,
) -> Result<[String; 8], StatsError> {
    let Some((faulty, clean)) = judged else { return Ok(Default::default()) };
    let interval = faulty.interval(confidence)?;
    Ok([
        faulty.images.to_string(),
        faulty.accuracy().to_string(),
        "clopper-pearson".into(),
        confidence.to_string(),
        interval.lo.to_string(),
        interval.hi.to_string(),
        (clean.accuracy() - faulty.accuracy()).to_string(),
        or_empty(faulty.success()),
    ])
}
