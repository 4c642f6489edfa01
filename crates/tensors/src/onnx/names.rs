//! Unique names for the tensors of a file.

use std::collections::HashMap;

use super::Problem;

/// Path names may take this many times the file's size (and never less than [`FREE`]): long node names repeated
/// before every tensor of a subgraph could otherwise ask for far more memory than the file has.
const GROWTH: usize = 64;
const FREE: usize = 1 << 20;

/// The names given so far.
pub(super) struct Names {
    /// Name given -> the last number tried after it.
    used: HashMap<String, u64>,
    budget: usize,
}

impl Names {
    /// For a file of `size` bytes.
    pub(super) fn new(size: usize) -> Names {
        Names { used: HashMap::new(), budget: size.saturating_mul(GROWTH).max(FREE) }
    }

    /// `base` if it is free, else `base#2`, `base#3` ...; an empty base becomes `unnamed`. `at` is the tensor's place.
    pub(super) fn unique(&mut self, base: &str, at: usize) -> Result<String, Problem> {
        let base = if base.is_empty() { "unnamed" } else { base };
        let name = self.free_name(base);
        self.budget = self.budget.checked_sub(name.len()).ok_or_else(|| {
            Problem::malformed(at, "the names of nested graphs are too long for a file of this size")
        })?;
        self.used.insert(name.clone(), 1);
        Ok(name)
    }

    fn free_name(&mut self, base: &str) -> String {
        let Some(mut number) = self.used.get(base).copied() else { return base.to_owned() };
        loop {
            number += 1;
            let name = format!("{base}#{number}");
            if !self.used.contains_key(&name) {
                self.used.insert(base.to_owned(), number);
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collisions_get_numbers() {
        let mut names = Names::new(0);
        let given: Vec<String> =
            ["w", "w", "w#3", "w", "", "", "w"].iter().map(|base| names.unique(base, 0).unwrap()).collect();
        assert_eq!(given, ["w", "w#2", "w#3", "w#4", "unnamed", "unnamed#2", "w#5"]);
    }

    #[test]
    fn names_cannot_outgrow_the_file() {
        let mut names = Names::new(0);
        let long = "x".repeat(FREE / 2);
        assert!(names.unique(&long, 7).is_ok());
        assert!(matches!(names.unique(&long, 7), Err(Problem::Malformed { at: 7, .. })));
    }
}
