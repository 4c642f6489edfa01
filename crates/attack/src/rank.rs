//! Rankings: which stored bits matter most, without trying them all.
//!
//! - [`RankFile`] is what a TOML file says.
//! - [`Landscape`] is what a ranking asks of a network: the gradient of its loss, products with the Hessian, and draws of the diagonal of
//!   the Gauss-Newton matrix. [`hutchinson`] and [`power_iteration`] need no more.
//! - [`by_gradient`] and its like are scores of weights, which a [`Turn`] makes scores of bits; [`RankingKind::Expected`] scores bits by the
//!   change of the level that their flip makes.
//! - [`Rank`] puts it together and leaves the files.

mod agreement;
mod bits;
mod config;
mod derivatives;
mod eigen;
mod files;
mod fisher;
mod hutchinson;
mod landscape;
mod measured;
mod parameters;
mod pass;
mod snapshot;
mod strata;
mod summary;
mod top;
mod vector;
mod work;

pub use agreement::{Agreement, AgreementOf};
pub use bits::BitScores;
pub use config::{
    AgreementConfig, CurvatureConfig, Diagonal, EigenConfig, RankConfig, RankFile, RankingKind, SavedScores,
    Turn, rank_toml, read_rank,
};
pub use eigen::{Eigenpair, power_iteration};
pub use fisher::gauss_newton_diagonal;
pub use hutchinson::{Hutchinson, hutchinson};
pub use landscape::Landscape;
pub use parameters::{by_gradient, by_maxima, by_mean_trace, by_sums, by_taylor, of_zeroing, places};
pub use pass::{Demand, Save, Scored, score_bits};
pub use snapshot::RANK_SNAPSHOT_FILE;
pub use strata::Stratum;
pub use summary::{LayerRow, RankSummary, RankingSummary, TraceSummary};
pub use top::RankedBit;
pub use vector::Vector;
pub use work::{RANK_FILE, RANK_SUMMARY_FILE, Rank, RankEnd, RankEvent};
