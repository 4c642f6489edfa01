//! Names of values, numbered in the order in which they are defined.

use std::collections::HashMap;

use super::PlanError;

#[derive(Default)]
pub(super) struct Names {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
}

impl Names {
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// A new value that `node` gives.
    pub(super) fn define(&mut self, name: &str, node: &str) -> Result<usize, PlanError> {
        let number = self.names.len();
        if self.numbers.insert(name.to_owned(), number).is_some() {
            return Err(PlanError::TwiceDefined { node: node.to_owned(), value: name.to_owned() });
        }
        self.names.push(name.to_owned());
        Ok(number)
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }
}
