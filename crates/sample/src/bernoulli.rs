//! Exact Bernoulli draws over very many sites, at a cost that follows the hits.

use rayon::prelude::*;

use crate::blockset::{BlockSet, push_ones_of};
use crate::key::Stream;
use crate::rate::Rate;
use crate::shells::{MAX_SITES, Shell, shells, width_log2};

/// Dense blocks hold 2^22 sites, whose bitmap fits a second-level cache.
const DENSE_BLOCK_LOG2: u32 = 22;
/// With fewer expected hits in such a block, sorting them beats the bitmap.
const FEW: f64 = 2048.0;
/// Then blocks are made to hold about this many, which sort fast.
const SPARSE_BLOCK_HITS: f64 = 24.0;
/// Blocks that one thread takes at a time.
const BLOCKS_AT_ONCE: u64 = 8;
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
    /// Shells whose spans lie within blocks.
    narrow: Vec<Shell>,
    /// Hits of all wider shells, grouped by block: those of block `b` lie at `starts[b]..starts[b + 1]`.
    wide_hits: Vec<u64>,
    starts: Vec<usize>,
}

/// Memory that [`BernoulliDraw::visit_block`] uses again and again; keep one a thread.
#[derive(Default)]
pub struct Scratch {
    set: BlockSet,
    /// Sites counted from the start of the block; blocks have at most 2^32.
    list: Vec<u32>,
}

impl<'s> BernoulliDraw<'s> {
    /// Prepares the draw: finds the hits that do not belong to one block alone.
    ///
    /// # Panics
    /// With more than 2^56 sites.
    #[must_use]
    pub fn new(stream: &'s Stream, sites: u64, rate: Rate) -> Self {
        assert!(sites <= MAX_SITES, "{sites} sites are more than 2^56");
        let hazard = rate.hazard();
        let block_log2 = block_log2(hazard).min(width_log2(sites).max(6));
        let possible = sites > 0 && hazard > 0.0 && hazard.is_finite();
        let all = if possible { shells(sites, rate) } else { Vec::new() };
        let (narrow, wide) = all.into_iter().partition(|shell: &Shell| shell.span_log2 <= block_log2);
        let mut draw =
            Self { stream, sites, hazard, block_log2, narrow, wide_hits: Vec::new(), starts: Vec::new() };
        let hits = draw.draw_wide(wide);
        draw.group_by_block(hits);
        draw
    }

    /// Number of blocks into which the sites are divided for [`visit_block`](Self::visit_block).
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

    /// Whether hits are so many that reading the bitmap of a block is faster than going from hit to hit.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        is_dense(self.hazard)
    }

    /// Whether visiting all blocks is so little work that starting threads for it would cost more.
    fn is_small(&self) -> bool {
        self.expected(self.sites) < ALONE
    }

    /// Hands over the hits of one block as a bitmap, in order and in runs: `run(i, words)` says that site `64 * (i + j) + b`
    /// is hit for every set bit `b` of `words[j]`. What no run mentions is not hit. Sites count from the start of the draw,
    /// not of the block.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn visit_block(&self, block: u64, scratch: &mut Scratch, mut run: impl FnMut(u64, &[u64])) {
        assert!(block < self.blocks(), "block {block} of {}", self.blocks());
        if self.hazard == 0.0 || self.has_no_hits(block) {
            return;
        }
        let start = block << self.block_log2;
        let end = self.sites.min(start + self.block_sites());
        if self.hazard.is_infinite() {
            all_words(start, end, run);
        } else if !is_dense(self.hazard) {
            scratch.list.clear();
            self.visit_hits(block, end, |site| scratch.list.push((site - start) as u32));
            scratch.list.sort_unstable();
            words_of_sorted(start / 64, &scratch.list, run);
        } else {
            scratch.set.reserve(end - start);
            self.visit_hits(block, end, |site| scratch.set.insert(site - start));
            scratch.set.drain(end - start, |words| run(start / 64, words));
        }
    }

    /// Whether it is known without looking that a block has no hits. At low rates most blocks have none.
    fn has_no_hits(&self, block: u64) -> bool {
        let block = block as usize;
        self.narrow.is_empty() && self.hazard.is_finite() && self.starts[block] == self.starts[block + 1]
    }

    /// Every hit, sorted.
    #[must_use]
    pub fn sites(&self) -> Vec<u64> {
        if self.hazard == 0.0 {
            Vec::new()
        } else if self.is_small() {
            self.sites_of(&mut Scratch::default(), 0..self.blocks())
        } else {
            let some = |scratch: &mut Scratch, first: u64| {
                self.sites_of(scratch, first..self.blocks().min(first + BLOCKS_AT_ONCE))
            };
            let starts: Vec<u64> = (0..self.blocks()).step_by(BLOCKS_AT_ONCE as usize).collect();
            let parts: Vec<Vec<u64>> = starts.into_par_iter().map_init(Scratch::default, some).collect();
            parts.concat()
        }
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
            self.visit_block(block, scratch, |first, words| push_ones_of(first, words, &mut hits));
        }
        hits
    }

    /// Every hit that lies in a block, in no order, repeats included.
    fn visit_hits(&self, block: u64, end: u64, mut hit: impl FnMut(u64)) {
        let start = block << self.block_log2;
        let range = self.starts[block as usize]..self.starts[block as usize + 1];
        self.wide_hits[range].iter().for_each(|&site| hit(site));
        for shell in &self.narrow {
            let first = start >> shell.span_log2;
            let spans = (end - start).div_ceil(1 << shell.span_log2);
            for span in first..first + spans {
                shell.visit(self.stream, span, self.sites, &mut hit);
            }
        }
    }

    fn draw_wide(&self, shells: Vec<Shell>) -> Vec<u64> {
        let spans: Vec<(Shell, u64)> = shells
            .into_iter()
            .flat_map(|shell| (0..shell.spans(self.sites)).map(move |span| (shell, span)))
            .collect();
        let expected = self.expected(self.sites);
        let collect = |spans: &[(Shell, u64)]| {
            let mut hits =
                Vec::with_capacity(if self.is_small() { (1.25 * expected) as usize + 64 } else { 0 });
            for (shell, span) in spans {
                shell.visit(self.stream, *span, self.sites, |site| hits.push(site));
            }
            hits
        };
        if self.is_small() { collect(&spans) } else { spans.par_chunks(64).flat_map_iter(collect).collect() }
    }

    /// Counting sort of the hits by block.
    fn group_by_block(&mut self, hits: Vec<u64>) {
        let blocks = if self.hazard > 0.0 { self.blocks() as usize } else { 0 };
        let mut starts = vec![0; blocks + 1];
        for &site in &hits {
            starts[(site >> self.block_log2) as usize + 1] += 1;
        }
        for block in 0..blocks {
            starts[block + 1] += starts[block];
        }
        let mut next = starts.clone();
        self.wide_hits = vec![0; hits.len()];
        for site in hits {
            let slot = &mut next[(site >> self.block_log2) as usize];
            self.wide_hits[*slot] = site;
            *slot += 1;
        }
        self.starts = starts;
    }
}

/// Sites in a block, log2. Hits do not depend on it.
fn block_log2(hazard: f64) -> u32 {
    if is_dense(hazard) {
        DENSE_BLOCK_LOG2
    } else {
        (SPARSE_BLOCK_HITS / hazard).log2().clamp(10.0, 32.0) as u32
    }
}

fn is_dense(hazard: f64) -> bool {
    hazard * f64::from(1 << DENSE_BLOCK_LOG2) >= FEW
}

/// Words that hit every site of a range which starts at a multiple of 64.
fn all_words(start: u64, end: u64, mut run: impl FnMut(u64, &[u64])) {
    for first in (start..end).step_by(64) {
        let beyond = (first + 64).saturating_sub(end);
        run(first / 64, &[u64::MAX >> beyond]);
    }
}

/// Groups sorted sites, perhaps with repeats, into words; `first` is the word of site 0.
fn words_of_sorted(first: u64, sites: &[u32], mut run: impl FnMut(u64, &[u64])) {
    for group in sites.chunk_by(|a, b| a / 64 == b / 64) {
        run(first + u64::from(group[0] / 64), &[group.iter().fold(0, |mask, site| mask | 1 << (site % 64))]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::StreamKey;

    /// Every shell read in full, without blocks, bitmaps or threads.
    fn reference(stream: &Stream, sites: u64, rate: Rate) -> Vec<u64> {
        let mut hits = Vec::new();
        for shell in shells(sites, rate) {
            for span in 0..shell.spans(sites) {
                shell.visit(stream, span, sites, |site| hits.push(site));
            }
        }
        hits.sort_unstable();
        hits.dedup();
        hits
    }

    #[test]
    fn blocks_give_what_the_shells_hold() {
        let block = 1 << DENSE_BLOCK_LOG2;
        let sizes = [1, 2, 63, 64, 65, 1000, 1 << 18, 300_001, block - 1, block, block + 1, 3 * block + 77];
        for (trial, sites) in sizes.into_iter().enumerate() {
            let stream = StreamKey { seed: 3, point: 0, trial: trial as u64 }.tensor("w");
            for p in [1e-9, 1e-5, 3e-4, 5e-4, 1e-3, 0.02, 0.3, 0.97] {
                let rate = Rate(p);
                let draw = BernoulliDraw::new(&stream, sites, rate);
                assert!(draw.sites() == reference(&stream, sites, rate), "{sites} sites at {p}");
            }
        }
    }

    #[test]
    fn ranges_are_parts_of_the_whole() {
        let sites = (1 << DENSE_BLOCK_LOG2) + 70_001;
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
