//! Hits that do not belong to one block alone, found before the blocks are.

use crate::key::Stream;
use crate::sequences::Ahead;
use crate::shells::{Shell, visit};
use crate::together::together;

/// Spans that one thread takes at a time, at least.
const SPANS_AT_ONCE: usize = 16;
/// Into how many parts the spans are divided, at most: every block looks at each.
const PARTS: usize = 64;

/// The hits of the spans that reach over several blocks.
#[derive(Default)]
pub(crate) struct WideHits {
    parts: Vec<Part>,
}

/// The hits of some spans, grouped by block and counted from its start: those of block `b` lie at `starts[b]..starts[b + 1]`.
#[derive(Default)]
struct Part {
    hits: Vec<u32>,
    starts: Vec<u32>,
}

/// Memory for drawing, used again and again.
#[derive(Default)]
pub(crate) struct WideScratch {
    pub(crate) ahead: Ahead,
    sites: Vec<u64>,
}

/// What is drawn: the sites, and their blocks.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'s> {
    pub(crate) stream: &'s Stream,
    pub(crate) sites: u64,
    pub(crate) block_log2: u32,
}

impl WideHits {
    /// The hits of all spans of some shells; by several threads where it `is_much`.
    pub(crate) fn draw(
        ground: Ground<'_>,
        shells: &[Shell],
        is_much: bool,
        scratch: &mut WideScratch,
    ) -> Self {
        let spans: Vec<(&Shell, u64)> = shells
            .iter()
            .flat_map(|shell| (0..shell.spans(ground.sites)).map(move |span| (shell, span)))
            .collect();
        if spans.is_empty() {
            return Self::default();
        }
        if !is_much {
            return Self { parts: vec![Part::draw(ground, &spans, scratch)] };
        }
        let at_once = SPANS_AT_ONCE.max(spans.len().div_ceil(PARTS));
        let mut parts: Vec<Part> = spans.chunks(at_once).map(|_| Part::default()).collect();
        let work = parts.iter_mut().zip(spans.chunks(at_once));
        together(work, |scratch: &mut WideScratch, (part, spans)| *part = Part::draw(ground, spans, scratch));
        Self { parts }
    }

    /// Those in one block, counted from its start.
    pub(crate) fn in_block(&self, block: u64) -> impl Iterator<Item = &[u32]> {
        let block = block as usize;
        let of = move |part: &'_ Part| part.starts[block] as usize..part.starts[block + 1] as usize;
        self.parts.iter().map(move |part| &part.hits[of(part)])
    }
}

impl Part {
    fn draw(ground: Ground<'_>, spans: &[(&Shell, u64)], scratch: &mut WideScratch) -> Self {
        let WideScratch { ahead, sites } = scratch;
        sites.clear();
        visit(ground.stream, spans.iter().copied(), ground.sites, ahead, |hits| {
            sites.extend(hits.iter().filter(|&&site| site < ground.sites));
        });
        Self::grouped(sites, ground)
    }

    /// Counting sort of the hits, fewer than 2^32, by block.
    fn grouped(sites: &[u64], ground: Ground<'_>) -> Self {
        let blocks = ground.sites.div_ceil(1 << ground.block_log2) as usize;
        let block = |site: u64| (site >> ground.block_log2) as usize;
        // A count stands two places on. Once added up, a block begins one place on, and ends there when its hits are placed.
        let mut starts = vec![0; blocks + 2];
        sites.iter().for_each(|&site| starts[block(site) + 2] += 1);
        for block in 2..blocks + 2 {
            starts[block] += starts[block - 1];
        }
        let mut hits = vec![0; sites.len()];
        let within = (1 << ground.block_log2) - 1;
        for &site in sites {
            let next = &mut starts[block(site) + 1];
            hits[*next as usize] = (site & within) as u32;
            *next += 1;
        }
        Self { hits, starts }
    }
}
