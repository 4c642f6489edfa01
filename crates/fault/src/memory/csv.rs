//! Maps of chips as CSV.

use super::chip::{CellFault, ChipCell, ChipMap, MapError, Measured, check_shape};

/// Why a text is no map, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ChipCsvError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: CsvProblem,
}

/// What is wrong with a line of a chip's CSV.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CsvProblem {
    /// No size where it should be.
    #[error("expected `size,ROWS,COLUMNS` before anything else")]
    NoSize,
    /// No names of columns where they should be.
    #[error("expected the names of the columns: row, column and at least one of threshold, p01, p10, stuck")]
    NoHeader,
    /// A column of an unknown name, or twice the same.
    #[error("`{name}` is no column, or there twice; known: row, column, threshold, p01, p10, stuck")]
    Column {
        /// The name.
        name: String,
    },
    /// More or fewer fields than columns.
    #[error("{found} fields, but there are {wanted} columns")]
    Fields {
        /// Fields in the line.
        found: usize,
        /// Columns.
        wanted: usize,
    },
    /// A field that is no number of the kind that the column has.
    #[error("column `{column}`: `{text}` is not a number that it can hold")]
    Number {
        /// The column's name.
        column: &'static str,
        /// The field.
        text: String,
    },
    /// Numbers that make no cell.
    #[error(transparent)]
    Map(#[from] MapError),
}

const COLUMNS: [&str; 6] = ["row", "column", "threshold", "p01", "p10", "stuck"];

impl ChipMap {
    /// Reads a map.
    ///
    /// The first line is `size,ROWS,COLUMNS`, the second names the columns: `row` and `column` (from 0), and any of `threshold`
    /// (volts, or whatever unit the campaign gives), `p01`, `p10` (probabilities) and `stuck` (0 or 1), in any order. Each further
    /// line is one cell that can fail; an empty field is an unknown one, and means what an absent array means in
    /// [`from_arrays`](Self::from_arrays). Empty lines and lines that start with `#` are skipped.
    ///
    /// # Errors
    /// [`ChipCsvError`] with the line.
    ///
    /// ```
    /// use bitquake_fault::ChipMap;
    /// let chip = ChipMap::from_csv("size,512,64\nrow,column,threshold,stuck\n3,17,0.84,\n4,17,0.83,1\n")?;
    /// assert_eq!(chip.cells().len(), 2);
    /// assert_eq!(ChipMap::from_csv(&chip.to_csv())?, chip);
    /// # Ok::<(), bitquake_fault::ChipCsvError>(())
    /// ```
    pub fn from_csv(text: &str) -> Result<Self, ChipCsvError> {
        let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
        let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let end = text.lines().count() + 1;
        let mut next = |problem: CsvProblem| lines.next().ok_or(ChipCsvError { line: end, problem });
        let (line, size) = next(CsvProblem::NoSize)?;
        let (rows, columns) = size_of(size).map_err(|problem| ChipCsvError { line, problem })?;
        let (line, header) = next(CsvProblem::NoHeader)?;
        let header = columns_of(header).map_err(|problem| ChipCsvError { line, problem })?;
        let mut cells: Vec<(usize, ChipCell)> = Vec::new();
        for (line, text) in lines {
            let cell = cell_of(text, &header, rows, columns);
            cells.extend(cell.map_err(|problem| ChipCsvError { line, problem })?.map(|cell| (line, cell)));
        }
        cells.sort_by_key(|(line, cell)| (cell.index, *line));
        if let Some(pair) = cells.windows(2).find(|pair| pair[0].1.index == pair[1].1.index) {
            let (line, cell) = pair[1];
            let problem = MapError::Twice { row: cell.index / columns, column: cell.index % columns };
            return Err(ChipCsvError { line, problem: problem.into() });
        }
        let cells = cells.into_iter().map(|(_, cell)| cell).collect();
        Self::new(rows, columns, cells).map_err(|error| ChipCsvError { line: end, problem: error.into() })
    }

    /// The map as CSV, which [`from_csv`](Self::from_csv) reads back to the last digit.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text =
            format!("size,{},{}\nrow,column,threshold,p01,p10,stuck\n", self.rows(), self.columns());
        for cell in self.cells() {
            let (row, column) = (cell.index / self.columns(), cell.index % self.columns());
            let threshold = cell.threshold.map_or(String::new(), |threshold| threshold.to_string());
            let fault = match cell.fault {
                CellFault::Flips { to_one, to_zero } => {
                    format!("{},{},", to_one.fraction(), to_zero.fraction())
                }
                CellFault::Stuck(value) => format!(",,{}", u8::from(value)),
            };
            text.push_str(&format!("{row},{column},{threshold},{fault}\n"));
        }
        text
    }
}

fn size_of(text: &str) -> Result<(u64, u64), CsvProblem> {
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let ["size", rows, columns] = fields[..] else { return Err(CsvProblem::NoSize) };
    let (rows, columns) = (number("row", rows)?, number("column", columns)?);
    check_shape(rows, columns)?;
    Ok((rows, columns))
}

/// For each field of a line, its place in [`COLUMNS`].
fn columns_of(text: &str) -> Result<Vec<usize>, CsvProblem> {
    let mut places = Vec::new();
    for name in text.split(',').map(str::trim) {
        match COLUMNS.iter().position(|known| *known == name) {
            Some(place) if !places.contains(&place) => places.push(place),
            _ => return Err(CsvProblem::Column { name: name.to_owned() }),
        }
    }
    if places.contains(&0) && places.contains(&1) && places.len() > 2 {
        Ok(places)
    } else {
        Err(CsvProblem::NoHeader)
    }
}

fn number<T: std::str::FromStr>(column: &'static str, text: &str) -> Result<T, CsvProblem> {
    text.parse().map_err(|_| CsvProblem::Number { column, text: text.to_owned() })
}

/// The cell of a line, unless it can never fail.
fn cell_of(text: &str, header: &[usize], rows: u64, columns: u64) -> Result<Option<ChipCell>, CsvProblem> {
    let mut fields = [""; 6];
    let found = text.split(',').count();
    if found != header.len() {
        return Err(CsvProblem::Fields { found, wanted: header.len() });
    }
    header.iter().zip(text.split(',')).for_each(|(&place, field)| fields[place] = field.trim());
    let [row, column, threshold, p01, p10, stuck] = fields;
    let (row, column) = (number("row", row)?, number("column", column)?);
    if row >= rows || column >= columns {
        return Err(MapError::OutOfBounds { row, column, rows, columns }.into());
    }
    let real = |name, text: &str| if text.is_empty() { Ok(None) } else { number(name, text).map(Some) };
    let (p01, p10, threshold) = (real("p01", p01)?, real("p10", p10)?, real("threshold", threshold)?);
    let stuck = if stuck.is_empty() { None } else { Some(number("stuck", stuck)?) };
    Ok(Measured { p01, p10, threshold, stuck }.cell(row, column, columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# measured at 25 C\nsize,4,8\n\ncolumn, row, p01, stuck, threshold\n7,3,0.25,,0.8\n0,0,,0,\n1,0,,,0.7\n2,0,0,,\n";

    #[test]
    fn reads_and_writes() {
        let chip = ChipMap::from_csv(GOOD).unwrap();
        assert_eq!((chip.rows(), chip.columns()), (4, 8));
        assert_eq!(
            chip.cells().iter().map(|cell| cell.index).collect::<Vec<_>>(),
            [0, 1, 31],
            "2,0 never fails"
        );
        assert_eq!(chip.cells()[0].fault, CellFault::Stuck(false));
        assert_eq!(chip.cells()[2].threshold, Some(0.8));
        assert_eq!(ChipMap::from_csv(&chip.to_csv()).unwrap(), chip);
        assert_eq!(chip.to_csv().lines().nth(4), Some("3,7,0.8,0.25,0,"));
    }

    #[test]
    fn says_which_line_is_wrong() {
        let cases = [
            ("", "line 1: expected `size,ROWS,COLUMNS`"),
            ("row,column,stuck\n", "line 1: expected `size"),
            ("size,4\n", "line 1: expected `size"),
            ("size,4,x\n", "line 1: column `column`: `x`"),
            ("size,0,8\nrow,column,stuck\n", "line 1: an array of 0 rows"),
            ("size,18446744073709551615,8\nrow,column,stuck\n", "there must be 1 to 2^48 cells"),
            ("size,4,8\n", "line 2: expected the names"),
            ("size,4,8\nrow,column\n", "line 2: expected the names"),
            ("size,4,8\nrow,column,p11\n", "line 2: `p11` is no column"),
            ("size,4,8\nrow,column,p01,p01\n", "line 2: `p01` is no column, or there twice"),
            ("size,4,8\nrow,column,p01\n1,2\n", "line 3: 2 fields, but there are 3 columns"),
            (
                "size,4,8\nrow,column,p01\n\n4,2,1\n",
                "line 4: row 4, column 2 is out of bounds, the array has 4 x 8",
            ),
            ("size,4,8\nrow,column,p01\n1,2,2\n", "line 3: `p01` at row 1, column 2: rate 2 is not"),
            ("size,4,8\nrow,column,stuck\n1,2,3\n", "line 3: `stuck` at row 1, column 2 is 3"),
            ("size,4,8\nrow,column,threshold\n1,2,NaN\n", "line 3: `threshold` at row 1, column 2 is not"),
            ("size,4,8\nrow,column,p01\n1,2,1\n1,3,1\n1,2,1\n", "line 5: row 1, column 2 is listed twice"),
            ("size,4,8\nrow,column,p01\n-1,2,1\n", "line 3: column `row`: `-1`"),
        ];
        for (text, want) in cases {
            let error = ChipMap::from_csv(text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
