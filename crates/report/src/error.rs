//! What can go wrong with a report.

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The template could not be filled in.
    #[error("cannot make the report: {0}")]
    Template(#[from] minijinja::Error),
    /// There is nothing to show.
    #[error("no campaign to show")]
    NoCampaigns,
    /// A campaign is judged by distances, or by a host's own numbers, so it has no test error.
    #[error(
        "the campaign `{campaign}` has no test error: it is judged by distances of outputs, or by numbers of its host's own"
    )]
    NotErrors {
        /// Its name.
        campaign: String,
    },
    /// Amounts of several kinds have no common axis.
    #[error("the campaigns of `{panel}` have amounts of different kinds: {} and {}", kinds[0], kinds[1])]
    MixedAmounts {
        /// The panel.
        panel: String,
        /// Two of the kinds.
        kinds: [&'static str; 2],
    },
    /// More curves than a reader can tell apart.
    #[error(
        "{curves} campaigns in `{panel}`, at most {most} fit one plot: put ` - ` into their names to divide them"
    )]
    TooManyCurves {
        /// The panel.
        panel: String,
        /// Its curves.
        curves: usize,
        /// How many there may be.
        most: usize,
    },
}
