//! Writes sample reports, to look at: `cargo run -p bitquake-report --example sample -- FOLDER`.

#[path = "../tests/samples/mod.rs"]
mod samples;

use std::path::Path;

use bitquake_record::{Overview, SummaryOptions};
use bitquake_report::{ReportInput, TableStyle, html, table};

#[expect(clippy::print_stdout, reason = "an example shows its result")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let options = SummaryOptions::default();
    for (name, results) in samples::all() {
        let overview = Overview::of(results.golden, results.campaign, results.trials, options)?;
        let dir = Path::new("results").join(name);
        let page = html(&ReportInput { overview: &overview, dir: &dir })?;
        std::fs::write(Path::new(&folder).join(format!("{name}.html")), page)?;
        println!("{name}\n{}", table(&overview, TableStyle { colour: true, width: None }));
    }
    Ok(())
}
