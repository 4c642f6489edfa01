//! The record of a trial, from what was drawn, what it flipped and what the images came to.

use bitquake_bits::Format;
use bitquake_engine::{CleanOutcome, Outcome};
use bitquake_fault::FaultPattern;
use bitquake_record::{Amount, Counts, DistanceRecord, Extent, SiteRecord, TrialRecord};

use crate::tally::Tally;

/// What is known of a trial before its images are run. Its digest and its site are the caller's to fill in.
pub(crate) fn faults_record(point: u32, trial: u64, amount: Amount, tally: Tally) -> TrialRecord {
    let of_kind = |kind| (amount.kind() == kind).then(|| amount.value());
    TrialRecord {
        point,
        trial,
        rate: of_kind("rate"),
        count: if let Amount::Count(count) = amount { Some(count) } else { None },
        fraction: of_kind("fraction"),
        voltage: of_kind("voltage"),
        faults: tally.flips,
        dormant: tally.dormant,
        to_one: tally.to_one,
        became_nan: tally.became_nan,
        became_inf: tally.became_inf,
        by_bit: tally.by_bit,
        by_tensor: tally.by_tensor,
        ..TrialRecord::default()
    }
}

/// The same with what the images came to.
pub(crate) fn with_outcome(record: TrialRecord, outcome: &Outcome, is_classifier: bool) -> TrialRecord {
    TrialRecord {
        images: outcome.images,
        correct: outcome.correct,
        top5_correct: outcome.top5_correct,
        golden_mismatch: outcome.golden_mismatch,
        masked: Some(outcome.masked),
        sdc5: is_classifier.then_some(outcome.sdc5),
        sdc10: is_classifier.then_some(outcome.sdc10),
        sdc20: is_classifier.then_some(outcome.sdc20),
        nonfinite: outcome.nonfinite,
        err_union: outcome.err_union,
        due: outcome.due,
        loss: outcome.loss(),
        distance: (!is_classifier).then(|| distance(outcome)),
        ..record
    }
}

/// How a golden run did on a network with so many outputs.
pub(crate) fn golden_counts(clean: &CleanOutcome, outputs: usize) -> Counts {
    Counts {
        images: clean.images,
        classes: outputs as u64,
        correct: clean.correct,
        top5_correct: clean.top5_correct,
        nonfinite: clean.nonfinite,
        loss: clean.loss(),
        host: None,
    }
}

/// The one bit of the memory that was hit, if it is one.
pub(crate) fn only_flip(stored: &FaultPattern, dormant: u64) -> Option<SiteRecord> {
    let [flips] = stored.tensors() else { return None };
    let [address] = flips.addresses.as_slice() else { return None };
    (dormant == 0).then(|| site_of(&flips.tensor, flips.format, *address))
}

/// The bit at an address of a tensor or value.
pub(crate) fn site_of(tensor: &str, format: Format, address: u64) -> SiteRecord {
    let width = u64::from(format.width());
    SiteRecord { tensor: tensor.into(), element: address / width, bit: (address % width) as u32 }
}

fn distance(outcome: &Outcome) -> DistanceRecord {
    let told = outcome.distances();
    let extent = |extent: bitquake_engine::Extent| Extent { mean: extent.mean, worst: extent.worst };
    DistanceRecord {
        compared: told.compared,
        exceeded: told.exceeded,
        max_abs: extent(told.max_abs),
        rel_l2: extent(told.rel_l2),
        cosine: extent(told.cosine),
    }
}
