//! Which values a guard file asks for.

use bitquake_fault::{Name, Selector};
use bitquake_graph::Graph;
use bitquake_graph::guard::{ACTIVATION_FUNCTIONS, Scope};
use bitquake_tensors::TensorFile;

use super::config::GuardConfig;
use super::error::GuardingError;
use crate::error::Error;

/// There is nothing to guard, and why.
pub(super) fn nothing(file: &TensorFile, reason: String) -> Error {
    GuardingError::Nothing { path: file.path().to_owned(), reason }.into()
}

/// The values that are to be guarded.
///
/// # Errors
/// [`GuardingError`]: operators that are not there, nothing to guard, a selection that matches nothing.
pub(super) fn scope(file: &TensorFile, config: &GuardConfig) -> Result<Scope, Error> {
    let graph = Graph::from_file(file).map_err(|error| nothing(file, error.to_string()))?;
    let ops: Vec<&str> = match &config.ops {
        Some(ops) => ops.iter().map(String::as_str).collect(),
        None => ACTIVATION_FUNCTIONS.to_vec(),
    };
    let counts = graph.op_counts();
    if let Some(op) = ops.iter().find(|op| config.ops.is_some() && !counts.contains_key(**op)) {
        let known = counts.into_keys().collect();
        return Err(
            GuardingError::NoOperator { path: file.path().to_owned(), op: (*op).to_owned(), known }.into()
        );
    }
    let mut scope = Scope::of(&graph, &ops);
    if scope.values.is_empty() && scope.left_out.is_empty() {
        let known = counts.into_keys().collect::<Vec<_>>().join(", ");
        let reason =
            format!("no activation functions among its operators ({known}); name some as [guard] ops");
        return Err(nothing(file, reason));
    }
    select(&mut scope, &config.select)?;
    if config.follow {
        scope.follow(&graph);
    }
    Ok(scope)
}

/// Keeps the values that globs select. Where there are none, those that are left out say why.
fn select(scope: &mut Scope, globs: &[String]) -> Result<(), GuardingError> {
    if scope.values.is_empty() {
        return Ok(());
    }
    let names: Vec<Name<'_>> =
        scope.values.iter().map(|one| Name { text: &one.value, by_name_only: false, also: &[] }).collect();
    let mut chosen = Selector::new(globs)?.matches(&names)?.into_iter();
    scope.values.retain(|_| chosen.next().unwrap_or(false));
    Ok(())
}
