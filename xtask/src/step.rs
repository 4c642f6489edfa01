//! Named steps that tell their time.

use crate::Outcome;
use std::time::Instant;

/// Runs one step, printing its name before and its time after; an error gets the step's name.
pub fn step(name: &str, work: impl FnOnce() -> Outcome) -> Outcome {
    println!("\n== {name}");
    let start = Instant::now();
    let done = work();
    let seconds = start.elapsed().as_secs_f64();
    let verdict = if done.is_ok() { "done" } else { "FAILED" };
    println!("== {name}: {verdict} in {seconds:.1} s");
    done.map_err(|message| format!("{name}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn an_error_names_its_step() {
        assert_eq!(step("paint", || Err("no colour".to_owned())), Err("paint: no colour".to_owned()));
        assert_eq!(step("paint", || Ok(())), Ok(()));
    }
}
