//! Exact Bernoulli draws over very many sites, at a cost that follows the hits.

use crate::blockset::{BlockSet, push_ones_of};
use crate::key::Stream;
use crate::rate::Rate;
use crate::sequences::Ahead;
use crate::shells::{MAX_SITES, Shell, shells, visit, width_log2};
use crate::sorted;
use crate::together::together;
use crate::wide::{Ground, WideHits, WideScratch};

/// The smallest blocks hold 2^22 sites, whose bitmap fits a second-level cache.
const SMALLEST_BLOCK_LOG2: u32 = 22;
/// With fewer expected hits in such a block, sorting them beats the bitmap.
const FEW: f64 = 12_000.0;
/// Then blocks are made to hold at most this many: enough that most cells lie within a block, and few enough for the first caches.
const SPARSE_BLOCK_HITS: f64 = 10_000.0;
/// Below this many expected hits in all, threads do not pay.
const ALONE: f64 = 20_000.0;

/// Which of `sites` sites are hit, each with the same probability and independently of all others.
///
/// * Exact: the probability is the rate given, to the last digits of a double, from 1e-15 and below up to 1; rates 0 and 1
///   are certain.
/// * Nested: for one stream, the sites at a rate are a subset of those at any higher rate.
/// * Sparse: time and memory follow the hits. (Rates near 1 cost `-ln(1 - p)` a site, at most 37.)
/// * Keyed: the result depends on the stream, the number of sites and the rate, not on threads or the order of blocks.
///
/// ```
/// use bitquake_sample::{BernoulliDraw, Rate, StreamKey};
/// let stream = StreamKey { seed: 1, point: 0, trial: 0 }.tensor("fc.weight");
/// assert_eq!(BernoulliDraw::new(&stream, 100, Rate::new(0.0)?).sites(), []);
/// assert_eq!(BernoulliDraw::new(&stream, 3, Rate::new(1.0)?).sites(), [0, 1, 2]);
/// # Ok::<(), bitquake_sample::RateError>(())
/// ```
pub struct BernoulliDraw<'s> {
    stream: &'s Stream,
    sites: u64,
    hazard: f64,
    block_log2: u32,
    shells: Vec<Shell>,
    /// So many shells, the first ones, have spans that are wider than blocks.
    wide: usize,
    wide_hits: WideHits,
}

/// Memory that draws use again and again; keep one a thread.
#[derive(Default)]
pub struct Scratch {
    wide: WideScratch,
    set: BlockSet,
    /// Sites counted from the start of the block; blocks have at most 2^32.
    list: Vec<u32>,
    spare: Vec<u32>,
}

/// The hits of one block, whose sites are counted from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockHits<'s> {
    /// The sites, rising.
    Sites(&'s [u32]),
    /// Site `64 * i + b` is hit if bit `b` of word `i` is set. There are no more words than the block has sites for.
    Bitmap(&'s [u64]),
}

impl<'s> BernoulliDraw<'s> {
    /// Prepares the draw: finds the hits that do not belong to one block alone.
    ///
    /// # Panics
    /// With more than 2^56 sites.
    #[must_use]
    pub fn new(stream: &'s Stream, sites: u64, rate: Rate) -> Self {
        Self::new_in(stream, sites, rate, &mut Scratch::default())
    }

    /// As [`new`](Self::new), with memory that is there: for many small draws.
    ///
    /// # Panics
    /// With more than 2^56 sites.
    #[must_use]
    pub fn new_in(stream: &'s Stream, sites: u64, rate: Rate, scratch: &mut Scratch) -> Self {
        assert!(sites <= MAX_SITES, "{sites} sites are more than 2^56");
        let hazard = rate.hazard();
        let block_log2 = block_log2(hazard).min(width_log2(sites).max(6));
        let possible = sites > 0 && hazard > 0.0 && hazard.is_finite();
        let shells = if possible { shells(sites, rate) } else { Vec::new() };
        let wide = shells.partition_point(|shell| shell.span_log2 > block_log2);
        let mut draw =
            Self { stream, sites, hazard, block_log2, shells, wide, wide_hits: WideHits::default() };
        let ground = Ground { stream, sites, block_log2 };
        draw.wide_hits = WideHits::draw(ground, &draw.shells[..wide], !draw.is_small(), &mut scratch.wide);
        draw
    }

    /// Number of blocks into which the sites are divided for [`block`](Self::block).
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.sites.div_ceil(self.block_sites())
    }

    /// Sites in each block but the last, which may hold fewer: a power of two. Block `b` starts at site `b * block_sites()`.
    #[must_use]
    pub fn block_sites(&self) -> u64 {
        1 << self.block_log2
    }

    /// Expected number of hits among `sites` sites; a bound for rates near 1.
    fn expected(&self, sites: u64) -> f64 {
        self.hazard.min(1.0) * sites as f64
    }

    /// Whether visiting all blocks is so little work that starting threads for it would cost more.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.expected(self.sites) < ALONE
    }

    /// The hits of one block: a list where they are few, a bitmap where they are many.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn block<'r>(&self, block: u64, scratch: &'r mut Scratch) -> BlockHits<'r> {
        assert!(block < self.blocks(), "block {block} of {}", self.blocks());
        let start = block << self.block_log2;
        let count = self.block_sites().min(self.sites - start);
        let Scratch { wide: WideScratch { ahead, .. }, set, list, spare } = scratch;
        let wide_hits = self.wide_hits.in_block(block);
        if self.hazard.is_infinite() {
            set.clear(count);
            set.insert_all(count);
            BlockHits::Bitmap(set.first(count))
        } else if is_dense(self.hazard) {
            set.clear(self.block_sites());
            wide_hits.flatten().for_each(|&site| set.insert(site.into()));
            self.visit_narrow(block, ahead, |sites| sites.iter().for_each(|site| set.insert(site - start)));
            BlockHits::Bitmap(set.first(count))
        } else {
            list.clear();
            wide_hits.for_each(|sites| list.extend_from_slice(sites));
            self.visit_narrow(block, ahead, |sites| {
                list.extend(sites.iter().map(|site| (site - start) as u32))
            });
            sorted::sort(list, spare, self.block_log2);
            list.dedup();
            list.truncate(list.partition_point(|&site| u64::from(site) < count));
            BlockHits::Sites(list)
        }
    }

    /// Every hit, sorted.
    #[must_use]
    pub fn sites(&self) -> Vec<u64> {
        self.sites_by(&mut Scratch::default())
    }

    /// As [`sites`](Self::sites), with memory that is there: for many small draws.
    #[must_use]
    pub fn sites_by(&self, scratch: &mut Scratch) -> Vec<u64> {
        if self.hazard == 0.0 {
            return Vec::new();
        }
        if self.is_small() {
            return self.sites_of(scratch, 0..self.blocks());
        }
        let mut parts = vec![Vec::new(); self.blocks() as usize];
        self.each_block(parts.iter_mut(), |scratch, block, part| {
            *part = self.sites_of(scratch, block..block + 1);
        });
        parts.concat()
    }

    /// Does work for each block, on several threads: with the number of the block, and with its item. Each thread has memory of its own for
    /// [`block`](Self::block). For draws that are not [small](Self::is_small).
    ///
    /// ```
    /// use bitquake_sample::{BernoulliDraw, BlockHits, Rate, StreamKey};
    /// let stream = StreamKey { seed: 1, point: 0, trial: 0 }.tensor("fc.weight");
    /// let draw = BernoulliDraw::new(&stream, 100_000_000, Rate::new(1e-3)?);
    /// let mut counts = vec![0; draw.blocks() as usize];
    /// draw.each_block(counts.iter_mut(), |scratch, block, count| {
    ///     *count = match draw.block(block, scratch) {
    ///         BlockHits::Sites(sites) => sites.len(),
    ///         BlockHits::Bitmap(words) => words.iter().map(|word| word.count_ones() as usize).sum(),
    ///     };
    /// });
    /// assert_eq!(counts.iter().sum::<usize>(), draw.sites().len());
    /// # Ok::<(), bitquake_sample::RateError>(())
    /// ```
    pub fn each_block<T: Send>(
        &self,
        items: impl ExactSizeIterator<Item = T> + Send,
        work: impl Fn(&mut Scratch, u64, T) + Sync,
    ) {
        together(items.enumerate(), |scratch: &mut Scratch, (block, item)| work(scratch, block as u64, item));
    }

    /// The hits of a range of sites, sorted; sites count from the start of the draw. Only the blocks that meet the range are
    /// read, so many ranges of one draw cost about as much as all of it.
    ///
    /// ```
    /// use bitquake_sample::{BernoulliDraw, Rate, StreamKey};
    /// let stream = StreamKey { seed: 1, point: 0, trial: 0 }.tensor("fc.weight");
    /// let draw = BernoulliDraw::new(&stream, 5_000_000, Rate::new(1e-3)?);
    /// let all = draw.sites();
    /// let some: Vec<u64> = all.into_iter().filter(|site| (1000..90_000).contains(site)).collect();
    /// assert_eq!(draw.sites_in(1000..90_000), some);
    /// # Ok::<(), bitquake_sample::RateError>(())
    /// ```
    #[must_use]
    pub fn sites_in(&self, range: std::ops::Range<u64>) -> Vec<u64> {
        let range = range.start..range.end.min(self.sites);
        if self.hazard == 0.0 || range.is_empty() {
            return Vec::new();
        }
        let blocks = range.start / self.block_sites()..range.end.div_ceil(self.block_sites());
        let mut hits = self.sites_of(&mut Scratch::default(), blocks);
        hits.truncate(hits.partition_point(|&site| site < range.end));
        hits.drain(..hits.partition_point(|&site| site < range.start));
        hits
    }

    /// The hits of some blocks, sorted.
    fn sites_of(&self, scratch: &mut Scratch, blocks: std::ops::Range<u64>) -> Vec<u64> {
        let sites = (blocks.end - blocks.start).saturating_mul(self.block_sites()).min(self.sites);
        let expected = self.expected(sites);
        // Three standard deviations of room: growing would copy everything.
        let mut hits = Vec::with_capacity((expected + 3.0 * expected.sqrt()) as usize + 16);
        for block in blocks {
            let start = block << self.block_log2;
            match self.block(block, scratch) {
                BlockHits::Sites(sites) => hits.extend(sites.iter().map(|&site| start + u64::from(site))),
                BlockHits::Bitmap(words) => push_ones_of(start / 64, words, &mut hits),
            }
        }
        hits
    }

    /// The hits in a block of the shells whose spans lie within blocks, in no order, repeats included, and some beyond the last site.
    fn visit_narrow(&self, block: u64, ahead: &mut Ahead, hits: impl FnMut(&[u64])) {
        let start = block << self.block_log2;
        let end = self.sites.min(start + self.block_sites());
        let spans = self.shells[self.wide..].iter().flat_map(|shell| {
            let first = start >> shell.span_log2;
            (first..first + (end - start).div_ceil(1 << shell.span_log2)).map(move |span| (shell, span))
        });
        visit(self.stream, spans, self.sites, ahead, hits);
    }
}

/// Sites in a block, log2. Hits do not depend on it.
fn block_log2(hazard: f64) -> u32 {
    let sparse = (SPARSE_BLOCK_HITS / hazard).log2().clamp(SMALLEST_BLOCK_LOG2.into(), 32.0) as u32;
    if is_dense(hazard) { SMALLEST_BLOCK_LOG2 } else { sparse }
}

fn is_dense(hazard: f64) -> bool {
    hazard * f64::from(1 << SMALLEST_BLOCK_LOG2) >= FEW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::StreamKey;

    /// Every shell read in full, without blocks, bitmaps or threads.
    fn reference(stream: &Stream, sites: u64, rate: Rate) -> Vec<u64> {
        let mut hits = Vec::new();
        let all = shells(sites, rate);
        let spans = all.iter().flat_map(|shell| (0..shell.spans(sites)).map(move |span| (shell, span)));
        visit(stream, spans, sites, &mut Ahead::default(), |some| hits.extend_from_slice(some));
        hits.retain(|&site| site < sites);
        hits.sort_unstable();
        hits.dedup();
        hits
    }

    #[test]
    fn blocks_give_what_the_shells_hold() {
        let block = 1 << SMALLEST_BLOCK_LOG2;
        let sizes = [1, 2, 63, 64, 65, 1000, 1 << 18, 300_001, block - 1, block, block + 1, 3 * block + 77];
        for (trial, sites) in sizes.into_iter().enumerate() {
            let stream = StreamKey { seed: 3, point: 0, trial: trial as u64 }.tensor("w");
            for p in [1e-9, 1e-5, 3e-4, 2.5e-3, 3e-3, 0.02, 0.3, 0.97] {
                let rate = Rate(p);
                let draw = BernoulliDraw::new(&stream, sites, rate);
                assert!(draw.sites() == reference(&stream, sites, rate), "{sites} sites at {p}");
            }
        }
    }

    #[test]
    fn ranges_are_parts_of_the_whole() {
        let sites = (1 << SMALLEST_BLOCK_LOG2) + 70_001;
        let stream = StreamKey { seed: 3, point: 0, trial: 0 }.tensor("w");
        for p in [0.0, 1e-6, 1e-4, 2e-3, 1.0] {
            let draw = BernoulliDraw::new(&stream, sites, Rate(p));
            let all = draw.sites();
            for (start, end) in
                [(0, sites), (0, 1), (63, 65), (100, 100), (9, 5_000), (sites - 70_100, sites + 5)]
            {
                let want: Vec<u64> = all.iter().copied().filter(|site| (start..end).contains(site)).collect();
                assert_eq!(draw.sites_in(start..end), want, "{start}..{end} at {p}");
            }
        }
    }

    #[test]
    fn no_sites_no_hits() {
        let stream = StreamKey { seed: 3, point: 0, trial: 0 }.tensor("w");
        for p in [0.0, 0.5, 1.0] {
            assert_eq!(BernoulliDraw::new(&stream, 0, Rate(p)).sites(), []);
        }
    }
}
