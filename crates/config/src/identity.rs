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

/// The most characters of a value that are told.
const MOST_TOLD: usize = 120;
/// So many of them stand before the first that differs.
const BEFORE: usize = 40;

/// In what two identities differ, for people: "seed is `1` here and `2` there". Of long values the part is told that begins to differ.
#[must_use]
pub fn identity_difference(here: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> String {
    let mut keys: Vec<&String> = here.keys().chain(there.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let told = |key: &String| {
        let (one, other) = (here.get(key), there.get(key));
        let alike = one.zip(other).map_or(0, |(one, other)| {
            one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count()
        });
        let show = |value: Option<&String>| value.map_or("nothing".into(), |value| excerpt(value, alike));
        format!("{key} is {} here and {} there", show(one), show(other))
    };
    let differing = keys.into_iter().filter(|key| here.get(*key) != there.get(*key));
    differing.map(told).collect::<Vec<_>>().join("; ")
}

/// A value, or what lies around its character `place` if it is long.
fn excerpt(value: &str, place: usize) -> String {
    let length = value.chars().count();
    if length <= MOST_TOLD {
        return format!("`{value}`");
    }
    let start = place.saturating_sub(BEFORE).min(length - MOST_TOLD);
    let dots = |is_cut: bool| if is_cut { "..." } else { "" };
    let text: String = value.chars().skip(start).take(MOST_TOLD).collect();
    format!("`{}{text}{}`", dots(start > 0), dots(start + MOST_TOLD < length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_tell_short_values_whole_and_long_ones_where_they_differ() {
        let told = |here: &str, there: Option<&str>| {
            let parts = |value: Option<&str>| {
                value.into_iter().map(|value| ("key".to_owned(), value.to_owned())).collect()
            };
            identity_difference(&parts(Some(here)), &parts(there))
        };
        assert_eq!(told("same", Some("same")), "");
        assert_eq!(told("1", Some("2")), "key is `1` here and `2` there");
        assert_eq!(told("1", None), "key is `1` here and nothing there");
        let digits = |count: usize| "0123456789".repeat(count);
        let (long, whole) = (digits(40), digits(12));
        assert_eq!(told(&whole, None), format!("key is `{whole}` here and nothing there"));
        assert_eq!(told(&long, None), format!("key is `{whole}...` here and nothing there"));
        // The character 205 differs: from 40 before it on.
        let other = format!("{}x{}", &long[..205], &long[206..]);
        let both = format!("key is `...{}...` here and `...{}...` there", &long[165..285], &other[165..285]);
        assert_eq!(told(&long, Some(&other)), both);
        // At the end, the last characters.
        let other = format!("{}é", &long[..399]);
        assert_eq!(
            told(&long, Some(&other)),
            format!("key is `...{}` here and `...{}` there", &long[280..], &other[280..])
        );
        assert_eq!(
            told(&long, Some("short")),
            format!("key is `{}...` here and `short` there", &long[..120])
        );
    }
}
