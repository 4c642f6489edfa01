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
use crate::rank::derivatives::Derivatives;
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
    pub(crate) fn read(&self, sizes: &[usize]) -> Result<Option<Derivatives>, AttackError> {
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
        derivatives(&header, &mut sealed.tensors, sizes).map(Some).map_err(damaged)
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
        draws: known.gauss_newton.draws,
        pairs: known.eigen.pairs.iter().map(of).collect(),
        running: known.eigen.running.as_ref().map(of),
    }
}

/// The tensors, by name.
type Tensors = BTreeMap<String, SealedTensor>;

fn tensors(known: &Derivatives) -> Tensors {
    let Derivatives { hessian, gauss_newton, eigen } = known;
    let tensor =
        |values: Vec<f64>| SealedTensor { shape: vec![values.len()], values: SealedValues::F64(values) };
    let mut all = Tensors::from([
        ("hessian".to_owned(), tensor(hessian.diagonal.concat())),
        ("traces".to_owned(), tensor(hessian.traces.clone())),
        ("gauss-newton".to_owned(), tensor(gauss_newton.diagonal.concat())),
    ]);
    for (place, pair) in eigen.pairs.iter().chain(&eigen.running).enumerate() {
        all.insert(format!("vector/{place}"), tensor(pair.vector.concat()));
        all.insert(format!("numbers/{place}"), tensor(vec![pair.value, pair.residual]));
    }
    all
}

/// What [`header`] and [`tensors`] made these of.
fn derivatives(header: &Header, tensors: &mut Tensors, sizes: &[usize]) -> Result<Derivatives, String> {
    let mut take = |name: &str| match tensors.remove(name).map(|tensor| tensor.values) {
        Some(SealedValues::F64(values)) => Ok(values),
        _ => Err(format!("it has no float64 tensor `{name}`")),
    };
    let hessian = VectorSums { diagonal: split(&take("hessian")?, sizes)?, traces: take("traces")? };
    let gauss_newton = DrawSums { diagonal: split(&take("gauss-newton")?, sizes)?, draws: header.draws };
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
    Ok(Derivatives { hessian, gauss_newton, eigen: EigenSearch { pairs, running } })
}

fn split(mut values: &[f64], sizes: &[usize]) -> Result<Vector, String> {
    let (found, wanted) = (values.len(), sizes.iter().sum::<usize>());
    if found != wanted {
        return Err(format!("a vector has {found} elements, not {wanted}"));
    }
    Ok(sizes.iter().map(|&size| values.split_off(..size).unwrap_or_default().to_vec()).collect())
}
