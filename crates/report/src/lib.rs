//! What people see of a campaign: the table at the end of a run, and one self-contained HTML page.
//!
//! Everything here is read from records and their summaries; no statistics are computed. [`html`] makes the page: plots as
//! SVG, every number of a plot also in a table, no scripts and nothing from the network. [`curves_html`] puts several campaigns
//! on one page, [`trade_html`] their errors against energy, [`table`] makes the table for a terminal.
//!
//! ```
//! use bitquake_record::Overview;
//! use bitquake_report::{ReportInput, TableStyle, html, table};
//!
//! # fn show(overview: &Overview) -> Result<(), Box<dyn std::error::Error>> {
//! print!("{}", table(overview, TableStyle::default()));
//! let dir = std::path::Path::new("results/fashion-cnn");
//! std::fs::write("report.html", html(&ReportInput { overview, dir })?)?;
//! # Ok(())
//! # }
//! ```

mod accuracy;
mod bit_flips;
mod command;
mod curves;
mod error;
mod escape;
mod figure;
mod number;
mod outcomes;
mod page;
mod plot;
mod series;
mod shares;
mod summary_tables;
mod table;
mod tensor_flips;
mod trade;
mod verdict;
mod view;
mod vulnerability;
mod worst;

pub use curves::curves_html;
pub use error::ReportError;
pub use page::{ReportInput, html};
pub use table::{TableStyle, table};
pub use trade::{TradeCurve, TradeInput, TradePoint, TradeTable, trade_html};
pub use vulnerability::vulnerability_table;
