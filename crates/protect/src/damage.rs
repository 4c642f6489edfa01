//! What a flip of each bit does, from files.

use std::collections::BTreeMap;
use std::path::Path;

use bitquake_record::csv::cells;
use bitquake_record::{VULNERABILITY_SCHEMA, Vulnerability};
use bitquake_tensors::read_text;

use crate::error::ProtectionError;

/// The files of a ranking's folder.
const STRATA_FILE: &str = "strata.csv";
const LAYERS_FILE: &str = "layers.csv";
/// The file of a campaign's results.
const VULNERABILITY_FILE: &str = "vulnerability.json";
/// Tables of tensors and bit positions are small; what is larger is another file by mistake.
const MOST_BYTES: u64 = 1 << 28;
/// The rankings whose scores are changes of the loss.
const CHANGES: [&str; 2] = ["expected", "first-order"];
/// How many trials the rate of a bit position counts for beside those of one tensor.
const PRIOR_TRIALS: f64 = 5.0;
/// Bits of the widest words.
const MOST_WIDTH: u32 = 64;

/// What a flip does, by tensor and bit position: the mean over the elements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Damage {
    /// Where it is known from, for people.
    pub source: String,
    /// By the tensor's name.
    pub tensors: BTreeMap<String, TensorDamage>,
    /// That of all other tensors, if the source tells.
    pub others: Option<TensorDamage>,
}

/// What flips in one tensor do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorDamage {
    /// The mean damage of a flip, by bit position; 0 is the least significant. In the unit of the source: a change of the loss in nats, or a
    /// share of images.
    pub bits: BTreeMap<u32, f64>,
    /// The mean damage of an element that is replaced by 0; none where the source does not tell.
    pub zeroed: Option<f64>,
}

impl Damage {
    /// What the folder of a ranking says: the mean score of each stratum, at most `cap`; flips to levels that are no finite numbers count `cap`.
    ///
    /// `expected` and `first-order` alone are changes of the loss; scores of weights cannot be added up.
    ///
    /// # Errors
    /// [`ProtectionError::Config`] for another ranking; [`ProtectionError::Damage`] for a file that cannot be read, is no such file, or does
    /// not have the ranking.
    pub fn from_ranking(folder: &Path, ranking: &str, cap: f64) -> Result<Self, ProtectionError> {
        if !CHANGES.contains(&ranking) {
            let reason = format!(
                "by = \"{ranking}\": a ranking of changes of the loss is needed, {}",
                CHANGES.join(" or ")
            );
            return Err(ProtectionError::Config { reason });
        }
        let mut tensors: BTreeMap<String, TensorDamage> = BTreeMap::new();
        let strata = folder.join(STRATA_FILE);
        let columns = ["ranking", "tensor", "bit", "bits", "nonfinite", "mean"];
        for row in rows(&strata, columns, ranking)? {
            let [_, tensor, bit, bits, nonfinite, mean] = row.cells;
            let wrong = || {
                row_error(&strata, row.line, "its bit, bits, nonfinite and mean are not those of a stratum")
            };
            let bit: u32 = bit.parse().map_err(|_| wrong())?;
            let (bits, nonfinite): (f64, f64) =
                bits.parse().ok().zip(nonfinite.parse().ok()).ok_or_else(wrong)?;
            let share = nonfinite / bits;
            // Without finite scores there is no mean.
            let mean: f64 =
                if mean.is_empty() && share == 1.0 { 0.0 } else { mean.parse().map_err(|_| wrong())? };
            if !(mean.is_finite() && (0.0..=1.0).contains(&share) && bit < MOST_WIDTH) {
                return Err(wrong());
            }
            let damage = share * cap + (1.0 - share) * mean.min(cap);
            if tensors.entry(tensor).or_default().bits.insert(bit, damage).is_some() {
                return Err(row_error(&strata, row.line, "the stratum was told before"));
            }
        }
        let layers = folder.join(LAYERS_FILE);
        for row in rows(&layers, ["ranking", "tensor", "zeroed"], ranking)? {
            let [_, tensor, zeroed] = row.cells;
            let Some(known) = tensors.get_mut(&tensor).filter(|_| !zeroed.is_empty()) else { continue };
            let number = zeroed.parse().ok().filter(|zeroed: &f64| zeroed.is_finite());
            let zeroed = number.ok_or_else(|| row_error(&layers, row.line, "zeroed is no finite number"))?;
            known.zeroed = Some(zeroed.min(cap));
        }
        Ok(Self { source: format!("ranking `{ranking}` of {}", folder.display()), tensors, others: None })
    }

    /// What a campaign of single upsets saw: the failure rate of each bit position of each tensor, from however few trials. So that one trial does not count
    /// as a rate of 0 or 1, each is drawn towards the rate of its bit position over all tensors, which counts like five trials; where no trial hit one, that
    /// rate stands in, and where none hit that either, the rate of the whole memory.
    ///
    /// # Errors
    /// [`ProtectionError::Damage`] for results without `vulnerability.json`, with one of another version, or with rates that are no shares.
    pub fn from_results(folder: &Path) -> Result<Self, ProtectionError> {
        let path = folder.join(VULNERABILITY_FILE);
        let wrong = |reason: String| ProtectionError::Damage { path: path.clone(), reason };
        let text = read(&path)?;
        let found: Vulnerability = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("is no vulnerability.json: {error}")))?;
        if found.schema > VULNERABILITY_SCHEMA {
            return Err(wrong(format!(
                "has schema {}, this version reads {VULNERABILITY_SCHEMA}",
                found.schema
            )));
        }
        let cells = found.tensor_bits.iter().chain(&found.bits).chain([&found.whole]);
        if let Some(rate) =
            cells.filter_map(|cell| cell.rate.sdc_rate).find(|rate| !(0.0..=1.0).contains(rate))
        {
            return Err(wrong(format!("sdc_rate {rate} is no share from 0 to 1")));
        }
        Self::from_vulnerability(&found).ok_or_else(|| wrong("no trial tells what a flip does".into()))
    }

    /// The same of what is read already; `None` if there is no failure rate in it.
    #[must_use]
    pub fn from_vulnerability(found: &Vulnerability) -> Option<Self> {
        let whole = found.whole.rate.sdc_rate?;
        let by_bit: BTreeMap<u32, f64> =
            found.bits.iter().filter_map(|cell| Some((cell.bit?, cell.rate.sdc_rate?))).collect();
        let of_bit = |bit| by_bit.get(&bit).copied().unwrap_or(whole);
        let others =
            TensorDamage { bits: (0..MOST_WIDTH).map(|bit| (bit, of_bit(bit))).collect(), zeroed: None };
        let mut tensors: BTreeMap<String, TensorDamage> = BTreeMap::new();
        let mut measured = 0;
        for cell in &found.tensor_bits {
            if let (Some(name), Some(bit), Some(rate)) = (&cell.tensor.tensor, cell.bit, cell.rate.sdc_rate) {
                let trials = cell.rate.trials as f64;
                let drawn = (trials * rate + PRIOR_TRIALS * of_bit(bit)) / (trials + PRIOR_TRIALS);
                tensors.entry(name.clone()).or_insert_with(|| others.clone()).bits.insert(bit, drawn);
                measured += 1;
            }
        }
        let strata = if measured == 1 { "1 stratum".into() } else { format!("{measured} strata") };
        Some(Self {
            source: format!(
                "single upsets of campaign {}, {} of which hit {strata}",
                found.campaign, found.whole.rate.trials
            ),
            tensors,
            others: Some(others),
        })
    }

    /// What is known of a tensor.
    #[must_use]
    pub fn of(&self, tensor: &str) -> Option<&TensorDamage> {
        self.tensors.get(tensor).or(self.others.as_ref())
    }
}

/// A row of a CSV file: the cells of some columns.
struct Row<const N: usize> {
    line: usize,
    cells: [String; N],
}

/// The rows of a CSV file whose first wanted column is the ranking's name.
fn rows<const N: usize>(
    path: &Path,
    columns: [&str; N],
    ranking: &str,
) -> Result<Vec<Row<N>>, ProtectionError> {
    let wrong = |reason: String| ProtectionError::Damage { path: path.to_owned(), reason };
    let text = read(path)?;
    let mut lines = (1..).zip(text.lines());
    let header = cells(lines.next().map_or("", |(_, line)| line));
    let mut places = [0; N];
    for (slot, column) in places.iter_mut().zip(columns) {
        let place = header.iter().position(|cell| cell == column);
        *slot = place.ok_or_else(|| {
            wrong(format!("has no column `{column}`: it was not made by this version of `bitquake rank`"))
        })?;
    }
    let cells_of = |line: &str| {
        let row = cells(line);
        places.map(|place| row.get(place).cloned().unwrap_or_default())
    };
    let whole = |(line, text): (usize, &str)| match cells(text).len() {
        count if count == header.len() => Ok(Row { line, cells: cells_of(text) }),
        count => Err(row_error(path, line, &format!("it has {count} cells, the header {}", header.len()))),
    };
    let all: Vec<Row<N>> = lines.map(whole).collect::<Result<_, _>>()?;
    let mut names: Vec<&str> = all.iter().filter_map(|row| row.cells.first()).map(String::as_str).collect();
    names.dedup();
    if !names.contains(&ranking) {
        return Err(wrong(format!("has no ranking `{ranking}`; it has {}", names.join(", "))));
    }
    Ok(all.into_iter().filter(|row| row.cells.first().is_some_and(|name| name == ranking)).collect())
}

fn row_error(path: &Path, line: usize, reason: &str) -> ProtectionError {
    ProtectionError::Damage { path: path.to_owned(), reason: format!("line {line}: {reason}") }
}

fn read(path: &Path) -> Result<String, ProtectionError> {
    let wrong = |reason: String| ProtectionError::Damage { path: path.to_owned(), reason };
    read_text(path, MOST_BYTES).map_err(|error| wrong(format!("cannot read: {error}")))
}

#[cfg(test)]
mod tests {
    use bitquake_record::{Cell, CellTensor, FailureRate};

    use super::*;

    const STRATA: &str = "ranking,tensor,bit,bits,nonfinite,mean,max,measured\n\
        expected,w,0,10,0,0.5,1,\nexpected,w,1,10,4,9.0,1,\nexpected,\"a,b\",0,4,4,,,\nfirst-order,w,0,10,0,7,7,\n";
    const LAYERS: &str = "ranking,tensor,zeroed\nexpected,w,0.25\nexpected,\"a,b\",\nfirst-order,w,\n";

    fn folder(strata: &str, layers: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(STRATA_FILE), strata).unwrap();
        std::fs::write(folder.path().join(LAYERS_FILE), layers).unwrap();
        folder
    }

    #[test]
    fn a_ranking_is_read() {
        let folder = folder(STRATA, LAYERS);
        let damage = Damage::from_ranking(folder.path(), "expected", 2.0).unwrap();
        let w = damage.of("w").unwrap();
        // Of bit 1, 4 of 10 flips count 2, the others their mean, but at most 2.
        assert_eq!(w.bits, BTreeMap::from([(0, 0.5), (1, 2.0)]));
        assert_eq!(w.zeroed, Some(0.25));
        assert_eq!(
            damage.of("a,b").unwrap(),
            &TensorDamage { bits: BTreeMap::from([(0, 2.0)]), zeroed: None }
        );
        assert_eq!(damage.of("other"), None);
        // What zeroing does is capped too.
        let capped = Damage::from_ranking(folder.path(), "expected", 0.1).unwrap();
        assert_eq!(capped.of("w").unwrap().zeroed, Some(0.1));
        let other = Damage::from_ranking(folder.path(), "first-order", 9.0).unwrap();
        assert_eq!(other.of("w").unwrap().bits, BTreeMap::from([(0, 7.0)]));
    }

    #[test]
    fn bad_tables_are_told() {
        for (strata, layers, want) in [
            ("tensor,bit\n", LAYERS, "strata.csv: has no column `ranking`"),
            (STRATA, "ranking,tensor\n", "layers.csv: has no column `zeroed`"),
            ("ranking,tensor,bit,bits,nonfinite,mean\nexpected,w,x,1,0,0\n", LAYERS, "line 2: its bit"),
            ("ranking,tensor,bit,bits,nonfinite,mean\nexpected,w,0,0,0,0\n", LAYERS, "line 2: its bit"),
            ("ranking,tensor,bit,bits,nonfinite,mean\nexpected,w,0,1,2,0\n", LAYERS, "line 2: its bit"),
            ("ranking,tensor,bit,bits,nonfinite,mean\nexpected,w,0,1,0,inf\n", LAYERS, "line 2: its bit"),
            (STRATA, "ranking,tensor,zeroed\nexpected,w,inf\n", "line 2: zeroed is no finite number"),
            (
                "ranking,tensor,bit,bits,nonfinite,mean\nexpected,w,0,1,0\n",
                LAYERS,
                "line 2: it has 5 cells, the header 6",
            ),
            ("ranking,tensor,bit,bits,nonfinite,mean\nexpected,w,0,1,0,\n", LAYERS, "line 2: its bit"),
            (
                "ranking,tensor,bit,bits,nonfinite,mean\nexpected,w,0,1,0,2\nexpected,w,0,1,0,2\n",
                LAYERS,
                "line 3: the stratum was told before",
            ),
            (STRATA, "ranking,tensor,zeroed\nexpected,w,x\n", "line 2: zeroed is no finite number"),
            (
                "ranking,tensor,bit,bits,nonfinite,mean\nsum,w,0,1,0,0\n",
                LAYERS,
                "no ranking `expected`; it has sum",
            ),
        ] {
            let folder = folder(strata, layers);
            let error = Damage::from_ranking(folder.path(), "expected", 2.0).unwrap_err().to_string();
            assert!(error.contains(want), "{want}: {error}");
        }
        let of_weights = Damage::from_ranking(Path::new("/nowhere"), "taylor", 2.0).unwrap_err().to_string();
        assert!(
            of_weights.contains("by = \"taylor\"") && of_weights.contains("expected or first-order"),
            "{of_weights}"
        );
        let nowhere = Damage::from_ranking(Path::new("/nowhere"), "expected", 2.0).unwrap_err().to_string();
        assert!(nowhere.contains("/nowhere/strata.csv: cannot read"), "{nowhere}");
    }

    #[test]
    fn what_no_trial_hit_has_the_rate_of_its_bit() {
        let rate = |sdc_rate| FailureRate { trials: 1, sdc_rate: Some(sdc_rate), ..FailureRate::default() };
        let cell = |tensor: Option<&str>, bit, value| Cell {
            tensor: CellTensor { tensor: tensor.map(str::to_owned), ..CellTensor::default() },
            bit,
            rate: rate(value),
            ..Cell::default()
        };
        let found = Vulnerability {
            whole: cell(None, None, 0.25),
            bits: vec![cell(None, Some(7), 0.5)],
            tensor_bits: vec![cell(Some("w"), Some(6), 0.75)],
            ..empty()
        };
        let damage = Damage::from_vulnerability(&found).unwrap();
        let of = |tensor: &str, bit: u32| damage.of(tensor).unwrap().bits[&bit];
        // Of bit 6 no other tensor tells: one trial at 0.75 and five at the whole's 0.25.
        let drawn = (0.75 + 5.0 * 0.25) / 6.0;
        assert_eq!(
            [of("w", 6), of("w", 7), of("w", 0), of("v", 7), of("v", 0)],
            [drawn, 0.5, 0.25, 0.5, 0.25]
        );
        assert!(damage.source.ends_with("1 of which hit 1 stratum"), "{}", damage.source);
        assert_eq!(Damage::from_vulnerability(&empty()), None);
    }

    fn empty() -> Vulnerability {
        Vulnerability {
            schema: VULNERABILITY_SCHEMA,
            campaign: "id".into(),
            point: 0,
            amount: bitquake_record::Amount::Count(1),
            sampling: bitquake_record::Sampling::Uniform,
            failure: "golden_mismatch".into(),
            confidence: 0.95,
            method: "bentkus".into(),
            raw_fit_per_mbit: None,
            whole: Cell::default(),
            tensors: Vec::new(),
            layers: Vec::new(),
            bits: Vec::new(),
            tensor_bits: Vec::new(),
            channels: Vec::new(),
        }
    }
}
