//! Whether what tells the damage tells it of this memory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bitquake_attack::rank::RANK_SUMMARY_FILE;
use bitquake_config::{Identity, identity_difference};
use bitquake_protect::{PlanConfig, ProtectionError};
use bitquake_record::ResultDir;
use bitquake_tensors::read_text;
use serde::Deserialize;

use super::ProtectFile;
use crate::error::Error;

/// In what the faults of upsets must be those that plans are for.
const SAME_FAULTS: [&str; 6] =
    ["fault model", "fault target", "fault select", "fault bits", "fault protect", "fault also"];

/// What an identity is over, by key.
type Parts = BTreeMap<String, String>;

/// That damage is known of this model in this memory, and, where upsets tell it, of these bits. Gives what to know of it.
pub(super) fn check_source(file: &ProtectFile, mine: &Identity) -> Result<Vec<String>, Error> {
    let (path, theirs) = source_identity(&file.protect)?;
    let is_measured = file.protect.results.is_some();
    let kept = |parts: &Parts| -> Parts {
        let decides = |key: &str| {
            let of_memory = key == "model" || key.starts_with("model ") || key.starts_with("storage ");
            of_memory || (is_measured && SAME_FAULTS.contains(&key))
        };
        let decisive = parts.iter().filter(|(key, _)| decides(key));
        decisive.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let (of_mine, of_theirs) = (kept(mine.parts()), kept(&theirs));
    if of_mine != of_theirs {
        let difference = identity_difference(&of_mine, &of_theirs);
        let reason = format!("tells of another memory or other faults: {difference}");
        return Err(ProtectionError::Damage { path, reason }.into());
    }
    let mut warnings = Vec::new();
    if images_overlap(mine.parts(), &theirs) {
        let warning =
            "plans follow images that memories are judged on too, and may save a little less on others";
        warnings.push(warning.into());
    }
    if file.guard.is_some() && file.guard_data.is_none() {
        let warning = "guards are calibrated on the images that memories are judged on; [protect.guard.data] names others";
        warnings.push(warning.into());
    }
    Ok(warnings)
}

/// Everything that decided what the source of damage tells, and the file that says so.
fn source_identity(config: &PlanConfig) -> Result<(PathBuf, Parts), Error> {
    #[derive(Deserialize)]
    struct Ranked {
        identity: Parts,
    }
    let Some(folder) = &config.ranking else {
        let folder = config.results.clone().unwrap_or_default();
        return Ok((folder.clone(), ResultDir::at(folder).require_golden()?.identity));
    };
    let path = folder.join(RANK_SUMMARY_FILE);
    let text = read_text(&path, u64::MAX).map_err(|source| Error::Read { path: path.clone(), source })?;
    let wrong = |error: serde_json::Error| ProtectionError::Damage {
        path: path.clone(),
        reason: format!("is no summary of rankings: {error}"),
    };
    let ranked: Ranked = serde_json::from_str(&text).map_err(wrong)?;
    Ok((path, ranked.identity))
}

/// Whether two identities name the same file of images, and images of it in common.
fn images_overlap(a: &Parts, b: &Parts) -> bool {
    let file = |parts: &Parts| parts.get("data 0").or(parts.get("data file 0")).cloned();
    let number = |parts: &Parts, key: &str| parts.get(key).and_then(|value| value.parse::<u64>().ok());
    let range = |parts: &Parts| {
        let first = number(parts, "data skip").unwrap_or(0);
        (first, number(parts, "data limit").map_or(u64::MAX, |limit| first.saturating_add(limit)))
    };
    let ((first, end), (other, other_end)) = (range(a), range(b));
    file(a).is_some() && file(a) == file(b) && first < other_end && other < end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(of: &[(&str, &str)]) -> Parts {
        of.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn images_in_common() {
        let campaign = parts(&[("data 0", "abc"), ("data limit", "1000")]);
        for (theirs, overlap) in [
            (&[("data file 0", "abc"), ("data skip", "1000")][..], false),
            (&[("data file 0", "abc"), ("data skip", "999")], true),
            (&[("data file 0", "abc")], true),
            (&[("data file 0", "other")], false),
            (&[("data 0", "abc"), ("data limit", "all")], true),
            (&[], false),
        ] {
            assert_eq!(images_overlap(&campaign, &parts(theirs)), overlap, "{theirs:?}");
            assert_eq!(images_overlap(&parts(theirs), &campaign), overlap, "{theirs:?}");
        }
        let past = parts(&[("data 0", "abc"), ("data skip", "1000"), ("data limit", "10")]);
        assert!(!images_overlap(&campaign, &past));
    }
}
