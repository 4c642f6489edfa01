//! Curves from CSV files.

use std::path::{Path, PathBuf};

use bitquake_tensors::read_text;

use crate::curve::CurvePoint;

/// Why a CSV file is no curve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CurveCsvError {
    /// The file cannot be read.
    #[error("{}: cannot read the curve: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Files are small tables; what is larger is another file by mistake.
const MOST_BYTES: u64 = 1 << 20;
const COLUMNS: [&str; 3] = ["energy", "rate", "voltage"];

/// Reads points from a CSV file: a line of column names, `energy` and `rate`, and `voltage` if there is one, in any order, then a line
/// a point. Empty lines and lines that begin with `#` count for nothing.
///
/// # Errors
/// [`CurveCsvError`], which names the line.
pub fn read_curve(path: &Path) -> Result<Vec<CurvePoint>, CurveCsvError> {
    let read = |source| CurveCsvError::Read { path: path.to_owned(), source };
    parse(&read_text(path, MOST_BYTES).map_err(read)?).map_err(|(line, reason)| CurveCsvError::Line {
        path: path.to_owned(),
        line,
        reason,
    })
}

fn parse(text: &str) -> Result<Vec<CurvePoint>, (usize, String)> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(line, text)| (line + 1, text.trim()))
        .filter(|(_, text)| !text.is_empty() && !text.starts_with('#'));
    let Some((line, header)) = lines.next() else {
        return Err((1, "there is no line of column names".into()));
    };
    let names: Vec<&str> = header.split(',').map(str::trim).collect();
    let place = |column: &str| names.iter().position(|name| *name == column);
    if let Some(other) = names.iter().find(|name| !COLUMNS.contains(name)) {
        return Err((line, format!("column `{other}` is not known; there are {}", COLUMNS.join(", "))));
    }
    let (Some(energy), Some(rate)) = (place("energy"), place("rate")) else {
        return Err((line, "columns `energy` and `rate` are needed".into()));
    };
    let voltage = place("voltage");
    let point = |(line, text): (usize, &str)| {
        let cells: Vec<&str> = text.split(',').map(str::trim).collect();
        if cells.len() != names.len() {
            return Err((line, format!("{} cells for {} columns", cells.len(), names.len())));
        }
        let number = |at: usize| {
            cells[at]
                .parse::<f64>()
                .map_err(|_| (line, format!("{} `{}` is no number", names[at], cells[at])))
        };
        Ok(CurvePoint {
            energy: number(energy)?,
            rate: number(rate)?,
            voltage: voltage.map(number).transpose()?,
        })
    };
    lines.map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_in_any_order() {
        let points = parse("# an SRAM\nrate,energy,voltage\n\n1e-3, 0.5, 0.8\n1e-6,0.75,0.9\n").unwrap();
        assert_eq!(points[0], CurvePoint { energy: 0.5, rate: 1e-3, voltage: Some(0.8) });
        assert_eq!(points[1], CurvePoint { energy: 0.75, rate: 1e-6, voltage: Some(0.9) });
        assert_eq!(parse("energy,rate\n1,1e-9").unwrap()[0].voltage, None);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, line, part) in [
            ("", 1, "no line of column names"),
            ("\nenergy,ber\n", 2, "column `ber` is not known"),
            ("energy,voltage\n", 1, "`energy` and `rate` are needed"),
            ("energy,rate\n1,2\n1\n", 3, "1 cells for 2 columns"),
            ("energy,rate\n1,low\n", 2, "rate `low` is no number"),
        ] {
            let (at, reason) = parse(text).unwrap_err();
            assert!(at == line && reason.contains(part), "{at}: {reason}");
        }
    }

    #[test]
    fn files_that_are_missing_or_huge_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve.csv");
        assert!(read_curve(&path).unwrap_err().to_string().contains("curve.csv: cannot read the curve"));
        std::fs::File::create(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert!(read_curve(&path).unwrap_err().to_string().contains("it has more than"));
    }
}
