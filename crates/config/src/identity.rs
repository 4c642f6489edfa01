//! What makes a campaign, or a training, the same one.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::digest::hex;

/// Everything that decides results, by key, and nothing else: no names, paths or thread counts.
///
/// ```
/// use bitquake_config::Identity;
/// let [here, there] = ["1", "2"].map(|seed| Identity::new([("seed".to_owned(), seed.to_owned())].into()));
/// assert_ne!(here.id(), there.id());
/// assert_eq!(here.difference(there.parts()), "seed is `1` here and `2` there");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    parts: BTreeMap<String, String>,
}

impl Identity {
    /// An identity of these parts.
    #[must_use]
    pub fn new(parts: BTreeMap<String, String>) -> Self {
        Self { parts }
    }

    /// The parts by key.
    #[must_use]
    pub fn parts(&self) -> &BTreeMap<String, String> {
        &self.parts
    }

    /// SHA-256 over all parts, as 64 hex digits.
    #[must_use]
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        for (key, value) in &self.parts {
            for text in [key, value] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
        hex(&hash.finalize())
    }

    /// In what other parts differ from these, for people.
    #[must_use]
    pub fn difference(&self, other: &BTreeMap<String, String>) -> String {
        identity_difference(&self.parts, other)
    }
}

/// In what two identities differ, for people: "seed is `1` here and `2` there".
#[must_use]
pub fn identity_difference(here: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> String {
    let mut keys: Vec<&String> = here.keys().chain(there.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let show = |value: Option<&String>| value.map_or("nothing".into(), |value| format!("`{value}`"));
    let differing = keys.into_iter().filter(|key| here.get(*key) != there.get(*key));
    let told: Vec<String> = differing
        .map(|key| format!("{key} is {} here and {} there", show(here.get(key)), show(there.get(key))))
        .collect();
    told.join("; ")
}
