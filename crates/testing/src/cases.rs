//! Tables of cases that report every failing row.

use std::any::Any;
use std::fmt::{Debug, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `got` on the input of every row `(name, input, wanted)` and panics with all rows that differ.
///
/// A row whose call panics counts as a failing row; the others still run.
///
/// # Panics
///
/// If a row differs from what it wants, or if there are no rows at all.
///
/// ```
/// use bitquake_testing::assert_cases;
///
/// assert_cases([("zero", 0, 0), ("two", 2, 4)], |x| x * x);
/// ```
#[track_caller]
pub fn assert_cases<N, I, T>(rows: impl IntoIterator<Item = (N, I, T)>, got: impl Fn(I) -> T)
where
    N: Display,
    T: PartialEq + Debug,
{
    if let Err(report) = check_cases(rows, got) {
        panic!("{report}");
    }
}

/// Like [`assert_cases`], but returns the report instead of panicking.
///
/// # Errors
///
/// A text with one paragraph for each failing row: its name, what it got and what it wanted.
pub fn check_cases<N, I, T>(
    rows: impl IntoIterator<Item = (N, I, T)>,
    got: impl Fn(I) -> T,
) -> Result<(), String>
where
    N: Display,
    T: PartialEq + Debug,
{
    let mut total = 0;
    let mut failures = Vec::new();
    for (name, input, wanted) in rows {
        total += 1;
        failures.extend(failure(&name, || got(input), &wanted));
    }
    match (total, failures.len()) {
        (0, _) => Err("the table has no cases".to_owned()),
        (_, 0) => Ok(()),
        (_, failed) => Err(format!("{failed} of {total} cases failed\n{}", failures.join("\n"))),
    }
}

/// The paragraph of one row, if it fails.
fn failure<T: PartialEq + Debug>(name: &impl Display, got: impl FnOnce() -> T, wanted: &T) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(got)) {
        Ok(got) if got == *wanted => None,
        Ok(got) => Some(format!("  {name}\n    got:    {got:?}\n    wanted: {wanted:?}")),
        Err(payload) => {
            Some(format!("  {name}\n    panicked: {}\n    wanted: {wanted:?}", message(payload.as_ref())))
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::{assert_cases, check_cases};

    #[test]
    fn every_failing_row_is_reported() {
        let rows = [("right", 1, 2), ("first wrong", 2, 5), ("second wrong", 3, 7)];
        let report = check_cases(rows, |x| x + 1).unwrap_err();
        assert!(report.starts_with("2 of 3 cases failed"), "{report}");
        assert!(report.contains("first wrong\n    got:    3\n    wanted: 5"), "{report}");
        assert!(report.contains("second wrong\n    got:    4\n    wanted: 7"), "{report}");
        assert!(!report.contains("  right"), "{report}");
    }

    #[test]
    fn a_panic_is_a_failing_row_and_the_rest_still_runs() {
        let report = check_cases([("bad", 0, 1), ("off", 4, 2)], |x| 12 / x).unwrap_err();
        assert!(report.contains("bad\n    panicked: attempt to divide by zero"), "{report}");
        assert!(report.contains("2 of 2"), "{report}");
    }

    #[test]
    fn an_empty_table_proves_nothing() {
        let rows: [(&str, u8, u8); 0] = [];
        assert_eq!(check_cases(rows, |x| x).unwrap_err(), "the table has no cases");
    }

    #[test]
    #[should_panic(expected = "1 of 1 cases failed")]
    fn the_assertion_panics() {
        assert_cases([("odd", 1, 2)], |x| x);
    }

    #[test]
    fn names_may_be_made_on_the_fly() {
        assert_cases((0..9).map(|i| (format!("case {i}"), i, 2 * i)), |x| x + x);
    }
}
