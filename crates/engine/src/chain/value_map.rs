//! What else happens to values than being computed.

/// Changes values where links end, in the golden run and in trials alike: as a memory does that holds them in fewer bits.
///
/// Links, golden values and faults see what it leaves. The input is not asked for: change the images themselves.
pub trait ValueMap: Send + Sync {
    /// Changes rows of a value, each a whole image's, by themselves: what becomes of a row must not depend on the others.
    ///
    /// # Errors
    /// Why it cannot be done; the run ends with it.
    fn apply(&self, value: &str, rows: &mut [f32]) -> Result<(), String>;
}
