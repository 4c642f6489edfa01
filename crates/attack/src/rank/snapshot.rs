//! Derivatives in a file, so that rankings that were stopped go on from there.
//!
//! A [`Sealed`] file of float64 tensors. It appears under its name when it is whole and on the disk, and is removed when the rankings are
//! done.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitquake_config::{Identity, identity_difference};
use bitquake_record::{RecordError, Sealed, SealedTensor, SealedValues};
use serde::{Deserialize, Serialize};

use crate::error::AttackError;
use crate::rank::derivatives::{Derivatives, Needs};
use crate::rank::eigen::{EigenSearch, Eigenpair};
use crate::rank::fisher::DrawSums;
use crate::rank::hutchinson::VectorSums;
use crate::rank::vector::Vector;

/// What rankings that were stopped go on from; not there once they are done.
pub const RANK_SNAPSHOT_FILE: &str = "derivatives.safetensors";

const SCHEMA: u32 = 1;
/// At most so much work is lost when the process is killed, or twenty times as much as writing takes.
const OFTEN: Duration = Duration::from_secs(30);

/// The file of a folder, and when it was written last.
pub(crate) struct Snapshots<'a> {
    dir: &'a Path,
    path: PathBuf,
    identity: &'a Identity,
    due: Instant,
}

/// What a snapshot says beside its tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    schema: u32,
    /// What decides the rankings, by key.
    identity: BTreeMap<String, String>,
    draws: u32,
    pairs: Vec<PairHeader>,
    /// The pair that has not ended.
    running: Option<PairHeader>,
}

#[derive(Serialize, Deserialize)]
struct PairHeader {
    iterations: u32,
    converged: bool,
}

impl<'a> Snapshots<'a> {
    pub(crate) fn new(dir: &'a Path, identity: &'a Identity) -> Self {
        Self { dir, path: dir.join(RANK_SNAPSHOT_FILE), identity, due: Instant::now() + OFTEN }
    }

    /// What was written; none if there is no file.
    ///
    /// # Errors
    /// [`AttackError::Records`] for a file that is damaged or of a newer version, [`AttackError::OtherRankings`] for one of other rankings.
    pub(crate) fn read(
        &self,
        needs: &Needs<'_>,
        sizes: &[usize],
    ) -> Result<Option<Derivatives>, AttackError> {
        let damaged =
            |reason: String| self.failed(format_args!("{reason}; without it the rankings begin anew"));
        let sealed = Sealed::read(&self.path).map_err(|error| match error {
            RecordError::Invalid { reason, .. } => damaged(reason),
            other => other.into(),
        })?;
        let Some(mut sealed) = sealed else { return Ok(None) };
        let header: Header = sealed.header(SCHEMA).map_err(damaged)?;
        if header.identity != *self.identity.parts() {
            let difference = identity_difference(self.identity.parts(), &header.identity);
            return Err(AttackError::OtherRankings { dir: self.dir.to_owned(), difference });
        }
        derivatives(&header, &mut sealed.tensors, needs, sizes).map(Some).map_err(damaged)
    }

    /// Writes the file if that is due.
    pub(crate) fn write_if_due(&mut self, known: &Derivatives) -> Result<(), AttackError> {
        let began = Instant::now();
        if began < self.due {
            return Ok(());
        }
        self.write(known)?;
        self.due = Instant::now() + OFTEN.max(20 * began.elapsed());
        Ok(())
    }

    /// Writes the file: whole and synced, or not at all.
    pub(crate) fn write(&self, known: &Derivatives) -> Result<(), AttackError> {
        let header = serde_json::to_string(&header(known, self.identity));
        let header = header.map_err(|error| self.failed(error))?;
        Ok(Sealed { header, tensors: tensors(known) }.write(&self.path)?)
    }

    fn failed(&self, reason: impl ToString) -> AttackError {
        AttackError::Records { path: self.path.clone(), reason: reason.to_string() }
    }

    /// Takes the file away: the rankings are done.
    pub(crate) fn remove(&self) -> Result<(), AttackError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(self.failed(format_args!("cannot remove: {error}")))
            }
            _ => Ok(()),
        }
    }
}

fn header(known: &Derivatives, identity: &Identity) -> Header {
    let of = |pair: &Eigenpair| PairHeader { iterations: pair.iterations, converged: pair.converged };
    Header {
        schema: SCHEMA,
        identity: identity.parts().clone(),
        draws: known.gauss_newton.as_ref().map_or(0, |sums| sums.draws),
        pairs: known.eigen.pairs.iter().map(of).collect(),
        running: known.eigen.running.as_ref().map(of),
    }
}

/// The tensors, by name.
type Tensors = BTreeMap<String, SealedTensor>;

fn tensors(known: &Derivatives) -> Tensors {
    let Derivatives { hessian, gauss_newton, eigen } = known;
    let mut all = Tensors::new();
    let mut put = |name: String, values: Vec<f64>| {
        all.insert(name, SealedTensor { shape: vec![values.len()], values: SealedValues::F64(values) });
    };
    if let Some(VectorSums { diagonal, traces }) = hessian {
        put("hessian".to_owned(), diagonal.concat());
        put("traces".to_owned(), traces.clone());
    }
    if let Some(sums) = gauss_newton {
        put("gauss-newton".to_owned(), sums.diagonal.concat());
    }
    for (place, pair) in eigen.pairs.iter().chain(&eigen.running).enumerate() {
        put(format!("vector/{place}"), pair.vector.concat());
        put(format!("numbers/{place}"), vec![pair.value, pair.residual]);
    }
    all
}

/// What [`header`] and [`tensors`] made these of.
fn derivatives(
    header: &Header,
    tensors: &mut Tensors,
    needs: &Needs<'_>,
    sizes: &[usize],
) -> Result<Derivatives, String> {
    let mut take = |name: &str| match tensors.remove(name).map(|tensor| tensor.values) {
        Some(SealedValues::F64(values)) => Ok(values),
        _ => Err(format!("it has no float64 tensor `{name}`")),
    };
    let mut known = Derivatives::new(needs, sizes);
    if let Some(sums) = &mut known.hessian {
        *sums = VectorSums { diagonal: split(&take("hessian")?, sizes)?, traces: take("traces")? };
    }
    if let Some(sums) = &mut known.gauss_newton {
        *sums = DrawSums { diagonal: split(&take("gauss-newton")?, sizes)?, draws: header.draws };
    }
    let mut pairs = Vec::new();
    for (place, of_pair) in header.pairs.iter().chain(&header.running).enumerate() {
        let vector = split(&take(&format!("vector/{place}"))?, sizes)?;
        let &[value, residual] = &take(&format!("numbers/{place}"))?[..] else {
            return Err(format!("`numbers/{place}` has not two numbers"));
        };
        let PairHeader { iterations, converged } = *of_pair;
        pairs.push(Eigenpair { value, vector, iterations, converged, residual });
    }
    let running = if header.running.is_some() { pairs.pop() } else { None };
    known.eigen = EigenSearch { pairs, running };
    Ok(known)
}

fn split(mut values: &[f64], sizes: &[usize]) -> Result<Vector, String> {
    let (found, wanted) = (values.len(), sizes.iter().sum::<usize>());
    if found != wanted {
        return Err(format!("a vector has {found} elements, not {wanted}"));
    }
    Ok(sizes.iter().map(|&size| values.split_off(..size).unwrap_or_default().to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use bitquake_sample::{PartKey, StreamKey};

    use super::*;
    use crate::rank::config::CurvatureConfig;

    const SIZES: [usize; 2] = [2, 1];

    fn needs(config: &CurvatureConfig) -> Needs<'_> {
        let key = PartKey::from(StreamKey { seed: 1, point: 0, trial: 0 });
        Needs { hessian: Some(config), gauss_newton: None, eigen: None, key }
    }

    fn known(needs: &Needs<'_>) -> Derivatives {
        let pair = |value| Eigenpair {
            value,
            vector: vec![vec![0.6, 0.0], vec![0.8]],
            iterations: 3,
            converged: false,
            residual: 0.1 + 0.2,
        };
        let mut known = Derivatives::new(needs, &SIZES);
        known.hessian =
            Some(VectorSums { diagonal: vec![vec![-0.0, 1e-310], vec![7.5]], traces: vec![3.5, 4.0] });
        known.eigen = EigenSearch { pairs: vec![pair(2.0)], running: Some(pair(1.0 / 3.0)) };
        known
    }

    fn identity() -> Identity {
        Identity::new(BTreeMap::from([("seed".to_owned(), "1".to_owned())]))
    }

    #[test]
    fn what_was_written_when_it_was_due_is_read() {
        let dir = bitquake_testing::temp_dir();
        let (config, identity) = (CurvatureConfig::default(), identity());
        let (needs, mut snapshots) = (needs(&config), Snapshots::new(dir.path(), &identity));
        let known = known(&needs);
        assert_eq!(snapshots.read(&needs, &SIZES).unwrap(), None);
        snapshots.write_if_due(&known).unwrap();
        assert_eq!(snapshots.read(&needs, &SIZES).unwrap(), None, "half a minute has not gone by");
        snapshots.due = Instant::now();
        snapshots.write_if_due(&known).unwrap();
        assert_eq!(snapshots.read(&needs, &SIZES).unwrap(), Some(known.clone()));
        snapshots.remove().unwrap();
        snapshots.write_if_due(&known).unwrap();
        assert_eq!(snapshots.read(&needs, &SIZES).unwrap(), None, "the next one is due in half a minute");
        snapshots.remove().expect("nothing is there");
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let dir = bitquake_testing::temp_dir();
        let (config, identity) = (CurvatureConfig::default(), identity());
        let (needs, snapshots) = (needs(&config), Snapshots::new(dir.path(), &identity));
        snapshots.write(&known(&needs)).unwrap();
        let said = |needs: &Needs<'_>, sizes: &[usize]| snapshots.read(needs, sizes).unwrap_err().to_string();
        assert!(said(&needs, &[2, 2]).contains("a vector has 3 elements, not 4; without it"));
        let more = Needs { gauss_newton: Some(&config), key: needs.key.clone(), ..needs };
        assert!(said(&more, &SIZES).contains("it has no float64 tensor `gauss-newton`; without it"));
        let whole = Sealed::read(&snapshots.path).unwrap().unwrap();
        let mut narrow = whole.clone();
        let values = SealedValues::F32(vec![1.0, 2.0]);
        narrow.tensors.insert("numbers/0".to_owned(), SealedTensor { shape: vec![2], values });
        narrow.write(&snapshots.path).unwrap();
        assert!(said(&needs, &SIZES).contains("it has no float64 tensor `numbers/0`"));
        let header = whole.header.replace("\"schema\":1", "\"schema\":2");
        Sealed { header, ..whole }.write(&snapshots.path).unwrap();
        assert!(said(&needs, &SIZES).contains("written with schema 2, this version reads up to 1"));
    }
}
