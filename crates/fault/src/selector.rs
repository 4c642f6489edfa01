//! Which tensors: globs, and globs to leave out.

use globset::{Glob, GlobMatcher};

/// What makes a name more than its characters in a pattern.
const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

/// A list of patterns over tensor names, such as `["conv*", "!*.bias"]`.
///
/// A name is selected when a pattern matches it and no `!pattern` does; with `!patterns` alone, everything else is selected.
/// `*` matches any run of characters, dots and slashes included; a name itself always matches, whatever characters are in it.
/// A name in braces, `{w\[0\]}`, is that name alone, its special characters behind `\`: see [`Selector::literal`].
#[derive(Clone, Debug)]
pub struct Selector {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// As given, for messages.
    text: String,
    /// The name that matches whatever globs may reach.
    name: String,
    glob: Option<GlobMatcher>,
}

/// Why a selection cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text is no glob.
    #[error("`{pattern}` is not a valid pattern: {reason}")]
    Invalid {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A pattern matched no tensor.
    #[error("`{pattern}` matches no tensor; there are {}", listed(.names))]
    NoMatch {
        /// The pattern as given.
        pattern: String,
        /// The tensors there are.
        names: Vec<String>,
    },
    /// Every tensor was left out.
    #[error("the selection {patterns:?} leaves no tensor")]
    Empty {
        /// All patterns.
        patterns: Vec<String>,
    },
}

fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "none".into(),
        n if n > SHOWN => {
            text.push_str(&format!(" and {} more", n - SHOWN));
            text
        }
        _ => text,
    }
}

/// A name to select from.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// The name.
    pub text: &'a str,
    /// Globs do not reach it; its own name does, and if it is that of a part (`TENSOR@PART`), so do globs with an `@`.
    pub by_name_only: bool,
    /// Other names of the same words (tied weights): what selects one of them, or leaves it out, does so with the words.
    pub also: &'a [String],
}

impl Selector {
    /// Selects everything that globs reach.
    #[must_use]
    pub fn all() -> Self {
        Self { include: Vec::new(), exclude: Vec::new() }
    }

    /// Reads patterns; an empty list selects everything.
    ///
    /// # Errors
    /// [`SelectorError::Invalid`] names the pattern that is no glob.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, SelectorError> {
        let mut selector = Self::all();
        for pattern in patterns {
            match pattern.as_ref().strip_prefix('!') {
                Some(excluded) => selector.exclude.push(Pattern::new(excluded)?),
                None => selector.include.push(Pattern::new(pattern.as_ref())?),
            }
        }
        Ok(selector)
    }

    /// The pattern that selects one name and no other, whatever characters are in it.
    ///
    /// ```
    /// use bitquake_fault::{Name, Selector};
    /// assert_eq!(Selector::literal("conv1.weight"), "conv1.weight");
    /// let names = ["w[0]", "w0"].map(|text| Name { text, by_name_only: false, also: &[] });
    /// assert_eq!(Selector::new(&[Selector::literal("w[0]")])?.matches(&names)?, [true, false]);
    /// # Ok::<(), bitquake_fault::SelectorError>(())
    /// ```
    #[must_use]
    pub fn literal(name: &str) -> String {
        let leaves_out = name.starts_with('!');
        if !leaves_out && !name.contains(SPECIAL) {
            return name.to_owned();
        }
        let escape =
            |c: char| if SPECIAL.contains(&c) || c == ',' { format!("\\{c}") } else { c.to_string() };
        // In braces, a list of one, so that a `!` in front leaves nothing out.
        format!("{{{}}}", name.chars().map(escape).collect::<String>())
    }

    /// For each name, whether it is selected.
    ///
    /// # Errors
    /// [`SelectorError`] when a pattern, or the selection as a whole, matches nothing: most likely a typing error.
    pub fn matches(&self, names: &[Name<'_>]) -> Result<Vec<bool>, SelectorError> {
        for pattern in self.include.iter().chain(&self.exclude) {
            if !names.iter().any(|name| pattern.matches(*name)) {
                let names = names.iter().map(|name| name.text.to_owned()).collect();
                return Err(SelectorError::NoMatch { pattern: pattern.text.clone(), names });
            }
        }
        let hit = |patterns: &[Pattern], name: Name<'_>| patterns.iter().any(|pattern| pattern.matches(name));
        let wanted = |name: Name<'_>| match self.include.as_slice() {
            [] => !name.by_name_only,
            include => hit(include, name),
        };
        let chosen: Vec<bool> = names.iter().map(|&name| wanted(name) && !hit(&self.exclude, name)).collect();
        if chosen.contains(&true) {
            Ok(chosen)
        } else {
            Err(SelectorError::Empty { patterns: self.patterns() })
        }
    }

    /// Whether a `!` pattern leaves the name out.
    #[must_use]
    pub fn excludes(&self, name: Name<'_>) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(name))
    }

    fn patterns(&self) -> Vec<String> {
        let included = self.include.iter().map(|pattern| pattern.text.clone());
        included.chain(self.exclude.iter().map(|pattern| format!("!{}", pattern.text))).collect()
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, SelectorError> {
        if let Some(name) = name_in_braces(text) {
            return Ok(Self { text: text.to_owned(), name, glob: None });
        }
        let is_glob = text.contains(['*', '?', '[', '{']);
        let glob = if is_glob {
            let glob = Glob::new(text).map_err(|error| SelectorError::Invalid {
                pattern: text.to_owned(),
                reason: error.kind().to_string(),
            })?;
            Some(glob.compile_matcher())
        } else {
            None
        };
        Ok(Self { text: text.to_owned(), name: text.to_owned(), glob })
    }

    fn matches(&self, name: Name<'_>) -> bool {
        let is_this = |text: &str| {
            let is_reached = !name.by_name_only || self.text.contains('@') && text.contains('@');
            let by_glob = || self.glob.as_ref().is_some_and(|glob| glob.is_match(text));
            self.name == text || (is_reached && by_glob())
        };
        is_this(name.text) || name.also.iter().any(|text| is_this(text))
    }
}

/// The name that [`Selector::literal`] wrote in braces; nothing for a list of several or of globs.
fn name_in_braces(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix('{')?.strip_suffix('}')?.chars();
    let mut name = String::new();
    while let Some(c) = rest.next() {
        match c {
            '\\' => name.push(rest.next()?),
            ',' => return None,
            c if SPECIAL.contains(&c) => return None,
            c => name.push(c),
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["conv1.weight", "conv1.bias", "/block/conv2.weight", "fc.weight", "a[0].b"];

    fn select(patterns: &[&str]) -> Result<Vec<&'static str>, SelectorError> {
        let names = NAMES.map(|text| Name { text, by_name_only: text == "fc.weight", also: &[] });
        let chosen = Selector::new(patterns)?.matches(&names)?;
        Ok(NAMES.into_iter().zip(chosen).filter_map(|(name, chosen)| chosen.then_some(name)).collect())
    }

    proptest::proptest! {
        #[test]
        fn a_literal_selects_its_name_alone(
            names in proptest::collection::btree_map("[a*?!\\[\\]{},\\\\.@-]{1,5}", proptest::bool::ANY, 1..9),
        ) {
            // The literals are names too: they are the likeliest to be taken for others.
            let mut names = names;
            let literals: Vec<String> = names.keys().map(|name| Selector::literal(name)).collect();
            for literal in literals {
                names.entry(literal).or_insert(false);
            }
            let all: Vec<Name<'_>> = names.iter().map(|(text, &by_name_only)| Name { text, by_name_only, also: &[] }).collect();
            let names: Vec<&String> = names.keys().collect();
            for name in &names {
                let chosen = Selector::new(&[Selector::literal(name)]).unwrap().matches(&all).unwrap();
                let wanted: Vec<bool> = names.iter().map(|other| other == name).collect();
                proptest::prop_assert_eq!(chosen, wanted, "{}", name);
            }
        }
    }

    #[test]
    fn globs_and_excludes() {
        let everything_by_glob = ["conv1.weight", "conv1.bias", "/block/conv2.weight", "a[0].b"];
        assert_eq!(select(&[]).unwrap(), everything_by_glob);
        assert_eq!(select(&["*"]).unwrap(), everything_by_glob);
        assert_eq!(select(&["conv*"]).unwrap(), ["conv1.weight", "conv1.bias"]);
        assert_eq!(select(&["*weight"]).unwrap(), ["conv1.weight", "/block/conv2.weight"]);
        assert_eq!(select(&["!*.bias"]).unwrap(), ["conv1.weight", "/block/conv2.weight", "a[0].b"]);
        assert_eq!(select(&["fc.weight", "conv1.*", "!*bias"]).unwrap(), ["conv1.weight", "fc.weight"]);
        assert_eq!(select(&["a[0].b"]).unwrap(), ["a[0].b"], "a name is its own pattern");
    }

    #[test]
    fn words_of_several_names() {
        let also = ["head.weight".to_owned()];
        let names = [("embed.weight", &also[..]), ("fc.weight", &[])];
        let names = names.map(|(text, also)| Name { text, by_name_only: false, also });
        let matches = |patterns: &[&str]| Selector::new(patterns).unwrap().matches(&names).unwrap();
        assert_eq!(matches(&["head.*"]), [true, false]);
        assert_eq!(matches(&["head.weight", "embed.weight"]), [true, false]);
        assert_eq!(matches(&["!head.weight"]), [false, true]);
        assert_eq!(matches(&["*", "!embed.*"]), [false, true]);
    }

    #[test]
    fn what_matches_nothing_is_an_error() {
        assert!(
            matches!(select(&["cnov*"]), Err(SelectorError::NoMatch { pattern, .. }) if pattern == "cnov*")
        );
        assert!(
            matches!(select(&["*", "!bais"]), Err(SelectorError::NoMatch { pattern, .. }) if pattern == "bais")
        );
        assert!(matches!(select(&["conv1.bias", "!*"]), Err(SelectorError::Empty { .. })));
        assert!(matches!(select(&["a[z"]), Err(SelectorError::Invalid { .. })));
    }
}
