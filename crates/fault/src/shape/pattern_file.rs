//! Spatial patterns from JSON.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::effect::{BitsHit, WORD_EFFECTS, WordEffect};
use super::pattern::{
    Axis, Choice, Extent, PatternClass, PatternPart, PatternValue, Span, SpatialPattern, cumulative,
};
use crate::model::Value;

const KIND: &str = "bitquake spatial pattern";
const VERSION: u32 = 1;

/// Bounds on what a file may hold.
const MAX_BYTES: usize = 16 << 20;
const MAX_CLASSES: usize = 1024;
const MAX_PARTS: usize = 64;
const MAX_OFFSETS: usize = 1 << 16;
const MAX_COUNTS: usize = 1 << 12;
const MAX_VALUES: usize = 64;
const MAX_NAME: usize = 1000;
/// Steps and extents: more than any tensor has along a dimension.
const MAX_STEP: u64 = 1 << 31;

/// Why a text is no spatial pattern.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpatialPatternError {
    /// Not JSON, or not of this shape.
    #[error("not a spatial pattern: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind of JSON file.
    #[error("not a spatial pattern: its kind is `{0}`, not `{KIND}`")]
    Kind(String),
    /// Written for a newer version.
    #[error("spatial pattern of version {found}, this version reads {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// A number or a list that cannot be.
    #[error("{field}: {reason}")]
    Field {
        /// Where, such as `classes[2].parts[0].offsets`.
        field: String,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: String,
    version: u32,
    name: String,
    source: String,
    classes: Vec<FileClass>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileClass {
    name: String,
    weight: f64,
    parts: Vec<FilePart>,
    #[serde(default)]
    values: Vec<FileValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePart {
    #[serde(default)]
    offsets: Option<Vec<[i64; 3]>>,
    #[serde(default)]
    spans: Option<Vec<FileSpan>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpan {
    axis: FileAxis,
    count: FileCount,
    #[serde(default)]
    step: Option<u64>,
    #[serde(default)]
    choice: Option<FileChoice>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileAxis {
    C,
    Y,
    X,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileChoice {
    Adjacent,
    Random,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a whole number is expected, a list of numbers and their weights, or a name")]
enum FileCount {
    One(u64),
    Weighted(Vec<(u64, f64)>),
    Named(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileValue {
    weight: f64,
    effect: String,
    #[serde(default)]
    bits_hit: Option<BitsHit>,
    #[serde(default)]
    value: Option<f64>,
}

impl SpatialPattern {
    /// Reads a pattern. The format is described in `docs/faults.md`; nothing unknown is let pass.
    ///
    /// # Errors
    /// [`SpatialPatternError`] names the field.
    ///
    /// ```
    /// use bitquake_fault::SpatialPattern;
    /// let text = r#"{
    ///     "kind": "bitquake spatial pattern", "version": 1, "name": "pairs", "source": "made up",
    ///     "classes": [{ "name": "pair", "weight": 1, "parts": [{ "offsets": [[0, 0, 0], [0, 0, 1]] }] }]
    /// }"#;
    /// assert_eq!(SpatialPattern::from_json(text)?.classes().len(), 1);
    /// # Ok::<(), bitquake_fault::SpatialPatternError>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Self, SpatialPatternError> {
        if text.len() > MAX_BYTES {
            return Err(wrong("the file", format!("{} bytes are more than {MAX_BYTES}", text.len())));
        }
        let file: File = serde_json::from_str(text)?;
        if file.kind != KIND {
            return Err(SpatialPatternError::Kind(file.kind));
        }
        if file.version != VERSION {
            return Err(SpatialPatternError::Version { found: file.version });
        }
        check_text("name", &file.name)?;
        check_text("source", &file.source)?;
        check_length("classes", file.classes.len(), MAX_CLASSES)?;
        let sums = weights("classes", file.classes.iter().map(|class| class.weight))?;
        let classes = file.classes.into_iter().enumerate();
        let classes =
            classes.map(|(at, class)| class.read(&format!("classes[{at}]"))).collect::<Result<_, _>>()?;
        Ok(Self { name: file.name, source: file.source, classes, cumulative: sums })
    }

    /// SHA-256, in hexadecimal digits, of what decides the faults: of everything but the names and the source.
    #[must_use]
    pub fn digest(&self) -> String {
        let text = format!("bitquake spatial pattern {VERSION} {:?}", self.without_names());
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn without_names(&self) -> Vec<PatternClass> {
        let plain = |class: &PatternClass| PatternClass { name: String::new(), ..class.clone() };
        self.classes.iter().map(plain).collect()
    }
}

fn wrong(field: &str, reason: impl Into<String>) -> SpatialPatternError {
    SpatialPatternError::Field { field: field.to_owned(), reason: reason.into() }
}

fn check_text(field: &str, text: &str) -> Result<(), SpatialPatternError> {
    if text.len() > MAX_NAME {
        return Err(wrong(field, format!("{} bytes are more than {MAX_NAME}", text.len())));
    }
    Ok(())
}

fn check_length(field: &str, length: usize, most: usize) -> Result<(), SpatialPatternError> {
    match length {
        0 => Err(wrong(field, "is empty")),
        length if length > most => Err(wrong(field, format!("has {length} entries, more than {most}"))),
        _ => Ok(()),
    }
}

fn weights(field: &str, weights: impl Iterator<Item = f64>) -> Result<Vec<f64>, SpatialPatternError> {
    cumulative(weights).ok_or_else(|| wrong(field, "weights must be finite, not negative and not all 0"))
}

impl FileClass {
    fn read(self, field: &str) -> Result<PatternClass, SpatialPatternError> {
        check_text(&format!("{field}.name"), &self.name)?;
        check_length(&format!("{field}.parts"), self.parts.len(), MAX_PARTS)?;
        let parts = self.parts.into_iter().enumerate();
        let parts =
            parts.map(|(at, part)| part.read(&format!("{field}.parts[{at}]"))).collect::<Result<_, _>>()?;
        let of_values = format!("{field}.values");
        let sums = match self.values.len() {
            0 => Vec::new(),
            length => {
                check_length(&of_values, length, MAX_VALUES)?;
                weights(&of_values, self.values.iter().map(|value| value.weight))?
            }
        };
        let values = self.values.into_iter().enumerate();
        let values =
            values.map(|(at, value)| value.read(&format!("{of_values}[{at}]"))).collect::<Result<_, _>>()?;
        Ok(PatternClass { name: self.name, weight: self.weight, parts, values, cumulative: sums })
    }
}

impl FilePart {
    fn read(self, field: &str) -> Result<PatternPart, SpatialPatternError> {
        match (self.offsets, self.spans) {
            (Some(offsets), None) => {
                let field = format!("{field}.offsets");
                check_length(&field, offsets.len(), MAX_OFFSETS)?;
                match offsets
                    .iter()
                    .position(|offset| offset.iter().any(|step| step.unsigned_abs() > MAX_STEP))
                {
                    Some(at) => Err(wrong(&field, format!("[{at}] has a step beyond {MAX_STEP}"))),
                    None => Ok(PatternPart::Offsets(offsets)),
                }
            }
            (None, Some(spans)) => {
                let field = format!("{field}.spans");
                check_length(&field, spans.len(), 3)?;
                let spans = spans.into_iter().enumerate();
                let spans = spans.map(|(at, span)| span.read(&format!("{field}[{at}]")));
                let spans = spans.collect::<Result<Vec<Span>, _>>()?;
                let twice = |at: usize| spans[..at].iter().any(|other| other.axis == spans[at].axis);
                match (0..spans.len()).find(|&at| twice(at)) {
                    Some(at) => Err(wrong(&field, format!("[{at}] has the axis of a span before it"))),
                    None => Ok(PatternPart::Spans(spans)),
                }
            }
            _ => Err(wrong(field, "has offsets or spans, and not both")),
        }
    }
}

impl FileSpan {
    fn read(self, field: &str) -> Result<Span, SpatialPatternError> {
        let axis = match self.axis {
            FileAxis::C => Axis::C,
            FileAxis::Y => Axis::Y,
            FileAxis::X => Axis::X,
        };
        let is_random = self.choice == Some(FileChoice::Random);
        let choice = match self.step {
            Some(_) if is_random => return Err(wrong(field, "step goes with choice = adjacent")),
            Some(step) if !(1..=MAX_STEP).contains(&step) => {
                return Err(wrong(&format!("{field}.step"), format!("{step} is not in 1..={MAX_STEP}")));
            }
            _ if is_random => Choice::Random,
            step => Choice::Step(step.unwrap_or(1)),
        };
        let extent = self.count.read(&format!("{field}.count"))?;
        if extent == Extent::All && (self.step.is_some() || self.choice.is_some()) {
            return Err(wrong(field, "step and choice do not go with count = \"all\""));
        }
        Ok(Span { axis, extent, choice })
    }
}

impl FileCount {
    fn read(self, field: &str) -> Result<Extent, SpatialPatternError> {
        let counts = match self {
            Self::Named(name) if name == "all" => return Ok(Extent::All),
            Self::Named(name) => {
                return Err(wrong(
                    field,
                    format!("`{name}` is no count: a number, [[number, weight], ...] or \"all\""),
                ));
            }
            Self::One(count) => vec![(count, 1.0)],
            Self::Weighted(counts) => counts,
        };
        check_length(field, counts.len(), MAX_COUNTS)?;
        if let Some((count, _)) = counts.iter().find(|(count, _)| !(1..=MAX_STEP).contains(count)) {
            return Err(wrong(field, format!("{count} is not in 1..={MAX_STEP}")));
        }
        let cumulative = weights(field, counts.iter().map(|(_, weight)| *weight))?;
        Ok(Extent::Counts { counts: counts.into_iter().map(|(count, _)| count).collect(), cumulative })
    }
}

impl FileValue {
    fn read(self, field: &str) -> Result<PatternValue, SpatialPatternError> {
        let effect = match (self.effect.as_str(), self.value) {
            ("set-value", Some(value)) => WordEffect::Value(Value::Number(value)),
            ("set-value", None) => return Err(wrong(field, "set-value needs a value")),
            (_, Some(_)) => return Err(wrong(field, "value goes with effect = set-value")),
            (name, None) => WordEffect::named(name, self.bits_hit.unwrap_or_default()).ok_or_else(|| {
                let known = WORD_EFFECTS.join(", ");
                wrong(&format!("{field}.effect"), format!("`{name}` is not known; known: {known}, set-value"))
            })?,
        };
        if self.bits_hit.is_some() && !matches!(effect, WordEffect::Bits { .. }) {
            return Err(wrong(field, "bits_hit goes with flip, set-0 and set-1"));
        }
        Ok(PatternValue { weight: self.weight, effect })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
        "kind": "bitquake spatial pattern", "version": 1, "name": "n", "source": "s",
        "classes": [
            {"name": "a", "weight": 1, "parts": [{"offsets": [[0, 0, 0], [1, -1, 2]]}]},
            {"name": "b", "weight": 0.5, "parts": [
                {"spans": [{"axis": "c", "count": [[2, 1], [3, 2.5]], "choice": "random"}, {"axis": "x", "count": 4, "step": 2}]},
                {"spans": [{"axis": "y", "count": "all"}]}],
             "values": [{"weight": 1, "effect": "flip", "bits_hit": 0.5}, {"weight": 2, "effect": "set-value", "value": 7}]}
        ]}"#;

    #[test]
    fn reads_what_is_written() {
        let pattern = SpatialPattern::from_json(GOOD).unwrap();
        assert_eq!((pattern.name(), pattern.source(), pattern.classes().len()), ("n", "s", 2));
        assert_eq!(pattern.cumulative, [1.0 / 1.5, 1.0]);
        assert_eq!(pattern.classes()[0].parts, [PatternPart::Offsets(vec![[0, 0, 0], [1, -1, 2]])]);
        let PatternPart::Spans(spans) = &pattern.classes()[1].parts[0] else { unreachable!("spans") };
        assert_eq!((spans[0].choice, spans[1].choice), (Choice::Random, Choice::Step(2)));
        assert_eq!(pattern.classes()[1].values[1].effect, WordEffect::Value(Value::Number(7.0)));
    }

    #[test]
    fn digests_tell_what_matters() {
        let digest = |text: &str| SpatialPattern::from_json(text).unwrap().digest();
        let whole = digest(GOOD);
        // Campaigns are resumed by it: a change is a change of identity.
        assert_eq!(whole, "514d49a8e075e112544d4753abdf9ee6f99a72bb201b4b1b92a970651ad066cc");
        assert_eq!(
            whole,
            digest(&GOOD.replace("\"n\"", "\"other\"").replace("\"a\"", "\"z\"").replace("    ", ""))
        );
        for (from, to) in [
            ("-1", "-2"),
            ("0.5, \"parts", "0.6, \"parts"),
            ("2.5", "2.25"),
            ("\"value\": 7", "\"value\": 8"),
        ] {
            assert_ne!(whole, digest(&GOOD.replace(from, to)), "{from}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let many = format!("\"offsets\": [{}]", vec!["[0,0,0]"; MAX_OFFSETS + 1].join(","));
        let rows = [
            ("{", "", "not a spatial pattern"),
            ("spatial pattern\"", "chip\"", "its kind is `bitquake chip`"),
            ("\"version\": 1", "\"version\": 2", "of version 2"),
            ("\"name\": \"n\"", "\"nam\": \"n\"", "unknown field `nam`"),
            ("\"weight\": 0.5", "\"weight\": -0.5", "classes: weights must be"),
            ("[1, -1, 2]", "[1, -1]", "not a spatial pattern: "),
            ("[1, -1, 2]", "[1, -1, 3000000000]", "classes[0].parts[0].offsets: [1] has a step beyond"),
            ("[[0, 0, 0], [1, -1, 2]]", "[]", "classes[0].parts[0].offsets: is empty"),
            ("\"offsets\": [[0, 0, 0], [1, -1, 2]]", many.as_str(), "has 65537 entries, more than 65536"),
            ("[{\"offsets\": [[0, 0, 0], [1, -1, 2]]}]", "[{}]", "classes[0].parts[0]: has offsets or spans"),
            ("\"axis\": \"x\"", "\"axis\": \"z\"", "unknown variant `z`"),
            ("\"axis\": \"x\"", "\"axis\": \"c\"", "classes[1].parts[0].spans: [1] has the axis of"),
            ("\"count\": 4", "\"count\": 0", "classes[1].parts[0].spans[1].count: 0 is not in"),
            ("\"count\": 4", "\"count\": \"some\"", "`some` is no count"),
            ("[[2, 1], [3, 2.5]]", "[[2, 0], [3, 0]]", "spans[0].count: weights must be"),
            ("\"step\": 2", "\"step\": 0", "spans[1].step: 0 is not in"),
            ("\"choice\": \"random\"", "\"choice\": \"random\", \"step\": 2", "step goes with choice"),
            ("\"count\": \"all\"", "\"count\": \"all\", \"step\": 2", "do not go with count"),
            (
                "\"effect\": \"flip\"",
                "\"effect\": \"flap\"",
                "classes[1].values[0].effect: `flap` is not known",
            ),
            ("\"effect\": \"flip\"", "\"effect\": \"zero\"", "classes[1].values[0]: bits_hit goes with"),
            ("0.5}, ", "1.5}, ", "bits_hit is 1.5"),
            (", \"value\": 7", "", "classes[1].values[1]: set-value needs a value"),
            ("\"effect\": \"flip\"", "\"effect\": \"flip\", \"value\": 1", "value goes with"),
        ];
        for (from, to, want) in rows {
            assert!(GOOD.contains(from), "{from}");
            let error = SpatialPattern::from_json(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(want), "{from} -> {to}: {error}");
        }
    }
}
