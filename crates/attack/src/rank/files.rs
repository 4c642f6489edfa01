//! The files that rankings leave.

use std::io::Write;
use std::path::Path;

use bitquake_fault::{FaultPattern, TensorFlips};
use bitquake_record::csv::quoted;
use bitquake_record::{AtomicFile, RecordError, write_atomically};
use serde_json::{Map, Value, json};

use crate::csv::or_empty;
use crate::error::AttackError;
use crate::rank::agreement::{Agreement, AgreementOf};
use crate::rank::measured::Measured;
use crate::rank::pass::Scored;
use crate::rank::summary::RankSummary;
use crate::rank::top::RankedBit;
use crate::words::{AttackedWords, BitSite};

/// A safetensors file of scores that is written as they are computed: of every tensor one float32 tensor of the shape [words, bits of a
/// word], the least significant bit first.
pub(crate) struct ScoreFile {
    file: AtomicFile,
    bytes: Vec<u8>,
}

impl ScoreFile {
    /// A file for the scores of all words, with the name of the ranking and the id of its settings in the metadata.
    pub(crate) fn create(
        path: &Path,
        words: &AttackedWords,
        ranking: &str,
        id: &str,
    ) -> Result<Self, AttackError> {
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), json!({ "ranking": ranking, "id": id }));
        let mut start = 0;
        for tensor in words.tensors() {
            let shape = [tensor.elements(), tensor.format().width().into()];
            let end = start + 4 * shape[0] * shape[1];
            let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
            header.insert(tensor.name().to_owned(), entry);
            start = end;
        }
        let mut text = Value::Object(header).to_string();
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        let mut file = AtomicFile::create(path)?;
        let written =
            file.write_all(&(text.len() as u64).to_le_bytes()).and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(AttackError::write(path))?;
        Ok(Self { file, bytes: Vec::new() })
    }

    /// Adds scores behind those before.
    pub(crate) fn add(&mut self, scores: &[f32], path: &Path) -> Result<(), AttackError> {
        self.bytes.clear();
        self.bytes.extend(scores.iter().flat_map(|score| score.to_le_bytes()));
        self.file.write_all(&self.bytes).map_err(AttackError::write(path))
    }

    pub(crate) fn commit(self) -> Result<(), RecordError> {
        self.file.commit()
    }
}

/// The bits that matter most as CSV, best first.
pub(crate) fn top_table(top: &[RankedBit], words: &AttackedWords) -> String {
    let mut text = String::from("rank,tensor,index,bit,stored_bit,level_before,level_after,score\n");
    for (rank, RankedBit { site, score }) in (1..).zip(top) {
        let BitSite { tensor, element, bit } = *site;
        let tensor = &words.tensors()[tensor];
        let word = tensor.word(element);
        let cells = [
            u64::to_string(&rank),
            quoted(tensor.name()).into_owned(),
            element.to_string(),
            bit.to_string(),
            (word >> bit & 1).to_string(),
            tensor.level(element, word).to_string(),
            tensor.level(element, word ^ 1 << bit).to_string(),
            score.to_string(),
        ];
        push_row(&mut text, &cells);
    }
    text
}

/// The bits that matter most as a pattern over the memory, all flipped at once.
pub(crate) fn pattern(top: &[RankedBit], words: &AttackedWords) -> Result<FaultPattern, AttackError> {
    let flips = |(place, tensor): (usize, &crate::words::AttackedTensor)| {
        let width = u64::from(tensor.format().width());
        let here = top.iter().map(|bit| bit.site).filter(|site| site.tensor == place);
        let mut addresses: Vec<u64> = here.map(|site| site.element * width + u64::from(site.bit)).collect();
        addresses.sort_unstable();
        TensorFlips {
            tensor: tensor.name().to_owned(),
            format: tensor.format(),
            elements: tensor.elements(),
            addresses,
        }
    };
    Ok(FaultPattern::new(words.tensors().iter().enumerate().map(flips).collect())?)
}

/// A row for each tensor in each ranking. `trace` is that of the tensor's block of the Hessian.
pub(crate) fn layer_table(summary: &RankSummary) -> String {
    let mut text = String::from("ranking,tensor,bits,nonfinite,mean,max,in_top,top_share,trace,zeroed\n");
    for ranking in &summary.rankings {
        for (place, layer) in ranking.layers.iter().enumerate() {
            let trace = summary.trace.as_ref().map(|trace| trace.by_tensor[place]);
            let cells = [
                ranking.ranking.to_owned(),
                quoted(&layer.tensor).into_owned(),
                layer.bits.to_string(),
                layer.nonfinite.to_string(),
                or_empty(layer.mean),
                or_empty(layer.max),
                layer.in_top.to_string(),
                layer.top_share.to_string(),
                or_empty(trace),
                or_empty(layer.zeroed),
            ];
            push_row(&mut text, &cells);
        }
    }
    text
}

/// A row for each stratum in each ranking.
pub(crate) fn stratum_table(
    rankings: &[(&'static str, Scored)],
    measured: Option<&Measured>,
    words: &AttackedWords,
) -> String {
    let mut text = String::from("ranking,tensor,bit,bits,nonfinite,mean,max,measured\n");
    for (ranking, scored) in rankings {
        for stratum in &scored.strata {
            let damage = measured.and_then(|measured| measured.get(&(stratum.tensor, stratum.bit)));
            let cells = [
                (*ranking).to_owned(),
                quoted(words.tensors()[stratum.tensor].name()).into_owned(),
                stratum.bit.to_string(),
                stratum.bits.to_string(),
                stratum.nonfinite.to_string(),
                or_empty(stratum.mean()),
                or_empty(stratum.largest()),
                or_empty(damage),
            ];
            push_row(&mut text, &cells);
        }
    }
    text
}

pub(crate) fn agreement_table(agreement: &[Agreement]) -> String {
    let mut text = String::from("first,second,of,things,tau_b,top,overlap,overlap_by_chance\n");
    for pair in agreement {
        let of = match pair.of {
            AgreementOf::Bits => "bits",
            AgreementOf::Strata => "strata",
        };
        let cells = [
            pair.first.to_owned(),
            pair.second.to_owned(),
            of.to_owned(),
            pair.things.to_string(),
            or_empty(pair.tau),
            pair.top.to_string(),
            pair.overlap.to_string(),
            pair.overlap_by_chance.to_string(),
        ];
        push_row(&mut text, &cells);
    }
    text
}

fn push_row(text: &mut String, cells: &[String]) {
    text.push_str(&cells.join(","));
    text.push('\n');
}

pub(crate) fn write(dir: &Path, name: &str, text: &str) -> Result<(), AttackError> {
    Ok(write_atomically(&dir.join(name), text.as_bytes())?)
}
