//! Whether there is memory for a pass, before it is taken: a process that takes more than there is may be killed without a word.

use crate::GradError;

/// Checks that so many bytes can be had.
///
/// # Errors
/// [`GradError::Memory`] if they are more than the system has to give. Where it does not tell, nothing is checked.
pub(crate) fn check(needed: usize, batch: usize) -> Result<(), GradError> {
    if needed == 0 {
        return Ok(()); // memory of the pass before
    }
    match available() {
        Some(available) if needed > available => Err(GradError::Memory { batch, needed, available }),
        _ => Ok(()),
    }
}

/// What the system could give without taking it from anyone; Linux tells.
fn available() -> Option<usize> {
    of_text(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn of_text(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_where_it_is_told() {
        let text = "MemTotal:       16378860 kB\nMemFree:          331484 kB\nMemAvailable:   10485760 kB\n";
        assert_eq!(of_text(text), Some(10 << 30));
        for text in ["", "MemAvailable: many kB", "MemAvailable: 5", "MemAvailable: -5 kB"] {
            assert_eq!(of_text(text), None);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_no_machine_has_is_refused() {
        assert!(check(0, 1).is_ok() && check(1, 1).is_ok());
        let error = check(usize::MAX, 128).map_err(|error| error.to_string());
        assert!(
            error.as_ref().is_err_and(|message| message.starts_with("a pass of 128 images needs")),
            "{error:?}"
        );
    }
}
