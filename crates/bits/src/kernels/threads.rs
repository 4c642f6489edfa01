//! Kernels on several threads: the arrays are cut into pieces, and every thread works on one piece of each.
//!
//! The kernels themselves use one thread, since campaigns run one trial a core. Where one large tensor is to be handled at
//! once, [`on_threads`] cuts it up. It starts plain scoped threads (some 20 µs each), not a pool: this pays for arrays of a
//! few MiB and more, needs no further crate, and cannot disturb a pool that the caller has.

/// Arrays that can be cut at the same place: slices, and pairs or triples of such arrays.
pub trait Cut: Sized + Send {
    /// The number of units that they can be cut between; of a pair, the smaller number.
    fn units(&self) -> usize;

    /// The units before `unit`, and those from there on. What lies behind the last unit goes with the second part.
    ///
    /// # Panics
    /// If there are fewer units.
    fn cut(self, unit: usize) -> (Self, Self);
}

impl<T: Sync> Cut for &[T] {
    fn units(&self) -> usize {
        self.len()
    }

    fn cut(self, unit: usize) -> (Self, Self) {
        self.split_at(unit)
    }
}

impl<T: Send> Cut for &mut [T] {
    fn units(&self) -> usize {
        self.len()
    }

    fn cut(self, unit: usize) -> (Self, Self) {
        self.split_at_mut(unit)
    }
}

/// An array that may only be cut between groups of elements, such as bytes with packed codes: eight codes of `width` bits
/// fill `width` bytes, so codes are `Groups { array: codes, size: 8 }` and bytes `Groups { array: bytes, size: width }`.
/// The last group may be incomplete.
#[derive(Clone, Copy, Debug)]
pub struct Groups<A> {
    /// The array.
    pub array: A,
    /// The elements of a group; 0 counts as 1.
    pub size: usize,
}

impl<A: Cut> Cut for Groups<A> {
    fn units(&self) -> usize {
        self.array.units().div_ceil(self.size.max(1))
    }

    fn cut(self, unit: usize) -> (Self, Self) {
        let size = self.size.max(1);
        let elements = unit.saturating_mul(size).min(self.array.units());
        let (first, second) = self.array.cut(elements);
        (Groups { array: first, size }, Groups { array: second, size })
    }
}

impl<A: Cut, B: Cut> Cut for (A, B) {
    fn units(&self) -> usize {
        self.0.units().min(self.1.units())
    }

    fn cut(self, unit: usize) -> (Self, Self) {
        let (a, b) = (self.0.cut(unit), self.1.cut(unit));
        ((a.0, b.0), (a.1, b.1))
    }
}

impl<A: Cut, B: Cut, C: Cut> Cut for (A, B, C) {
    fn units(&self) -> usize {
        self.0.units().min(self.1.units()).min(self.2.units())
    }

    fn cut(self, unit: usize) -> (Self, Self) {
        let (a, b, c) = (self.0.cut(unit), self.1.cut(unit), self.2.cut(unit));
        ((a.0, b.0, c.0), (a.1, b.1, c.1))
    }
}

/// Runs a kernel on equal pieces of its arrays, each on a thread of its own; the results in the order of the pieces.
///
/// The last piece is done by the calling thread. No more threads are used than there are units, and at least one. A check
/// that a kernel makes sees one piece: arrays of different lengths fail in the last piece, after the others were changed,
/// and an index in an error counts from the start of its piece; check lengths first where that matters.
///
/// ```
/// use bitquake_bits::kernels::{Bitwise, hamming_total, on_threads};
/// let (mut a, b) = (vec![0_u32; 1000], vec![7_u32; 1000]);
/// let counts = on_threads(2, (&a[..], &b[..]), |(a, b)| hamming_total(a, b));
/// assert_eq!(counts.into_iter().sum::<Result<u64, _>>()?, 3000);
/// let done = on_threads(2, (&mut a[..], &b[..]), |(a, b)| Bitwise::Xor.in_place(a, b));
/// done.into_iter().collect::<Result<(), _>>()?;
/// assert_eq!(a, b);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Panics
/// If the kernel panics on one of the pieces.
pub fn on_threads<A: Cut, R: Send>(threads: usize, arrays: A, kernel: impl Fn(A) -> R + Sync) -> Vec<R> {
    let pieces = threads.clamp(1, arrays.units().max(1));
    std::thread::scope(|scope| {
        let (mut rest, mut running) = (arrays, Vec::with_capacity(pieces - 1));
        for left in (2..=pieces).rev() {
            let units = rest.units().div_ceil(left);
            let (piece, others) = rest.cut(units);
            rest = others;
            running.push(scope.spawn(|| kernel(piece)));
        }
        let last = kernel(rest);
        let join = |handle: std::thread::ScopedJoinHandle<'_, R>| {
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        running.into_iter().map(join).chain([last]).collect()
    })
}
