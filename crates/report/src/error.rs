//! What can go wrong with a report.

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The template could not be filled in.
    #[error("cannot make the report: {0}")]
    Template(#[from] minijinja::Error),
}
