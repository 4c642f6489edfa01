//! Random words of many sequences of one stream, each read from its start.

use crate::chacha::{self, Block, Place, WORDS};

/// Blocks computed ahead at a time.
const AHEAD: usize = 128;
/// Blocks computed at a time when a sequence goes on beyond those.
const FURTHER: usize = 16;

/// The key of a stream, as words.
pub(crate) type Key = [u32; 8];

/// The first words of some sequences, computed together: starting them one by one costs as much as 30 events each.
pub(crate) struct Ahead {
    places: Vec<Place>,
    blocks: Vec<Block>,
    further: [Box<Further>; 2],
}

/// The words of a sequence after those that were computed ahead.
type Further = [Block; FURTHER];

impl Default for Ahead {
    fn default() -> Self {
        let further = || Box::new([[0; WORDS]; FURTHER]);
        Self { places: Vec::new(), blocks: Vec::new(), further: [further(), further()] }
    }
}

impl Ahead {
    /// Hands over a reader for each item, in order: of the sequence that `plan` names; and one of another sequence, for what an item
    /// may want besides.
    pub(crate) fn read<T>(
        &mut self,
        key: &Key,
        items: impl IntoIterator<Item = T>,
        plan: impl Fn(&T) -> Plan,
        mut read: impl FnMut(T, Reader<'_>, Option<Reader<'_>>),
    ) {
        let (mut items, mut planned) = (items.into_iter(), Vec::new());
        loop {
            self.places.clear();
            while self.places.len().max(planned.len()) < AHEAD {
                let Some(item) = items.next() else { break };
                let plan = plan(&item);
                for wanted in [Some(plan.own), plan.beside].into_iter().flatten() {
                    let sequence = wanted.sequence;
                    self.places.extend((0..wanted.blocks() as u64).map(|block| Place { sequence, block }));
                }
                planned.push((item, plan));
            }
            if planned.is_empty() {
                return;
            }
            self.blocks.resize(self.places.len().max(self.blocks.len()), [0; WORDS]);
            chacha::fill(key, &self.places, &mut self.blocks[..self.places.len()]);
            let mut ahead = &self.blocks[..];
            let [further, further_beside] = &mut self.further;
            for (item, plan) in planned.drain(..) {
                let mut blocks_of = |wanted: Wanted| {
                    let (own, rest) = ahead.split_at(wanted.blocks());
                    ahead = rest;
                    own
                };
                let (own, beside) =
                    (blocks_of(plan.own), plan.beside.map(|wanted| (wanted, blocks_of(wanted))));
                let beside =
                    beside.map(|(wanted, blocks)| Reader::new(key, wanted.sequence, blocks, further_beside));
                read(item, Reader::new(key, plan.own.sequence, own, further), beside);
            }
        }
    }
}

/// What an item reads.
pub(crate) struct Plan {
    pub(crate) own: Wanted,
    /// A second sequence.
    pub(crate) beside: Option<Wanted>,
}

/// A sequence, and how many of its words will likely be read.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) sequence: u64,
    pub(crate) words: usize,
}

impl Wanted {
    /// How many blocks of it are computed with those of others: of a long one none.
    fn blocks(&self) -> usize {
        let blocks = self.words.div_ceil(WORDS);
        if blocks > 2 * FURTHER { 0 } else { blocks }
    }
}

/// Reads the words of one sequence from its start: the same as [`Words`](crate::Words) of that sequence.
pub(crate) struct Reader<'a> {
    key: &'a Key,
    sequence: u64,
    /// The first words.
    ahead: &'a [u32],
    /// Later ones, once the first were read.
    further: &'a mut Further,
    is_further: bool,
    /// The place of the next word in those that are there.
    at: usize,
    /// The next block that was not computed yet.
    block: u64,
}

impl<'a> Reader<'a> {
    fn new(key: &'a Key, sequence: u64, ahead: &'a [Block], further: &'a mut Further) -> Self {
        let block = ahead.len() as u64;
        Self { key, sequence, ahead: ahead.as_flattened(), further, is_further: false, at: 0, block }
    }

    /// The words that are there and not read; never none.
    fn rest(&mut self) -> &[u32] {
        let count = if self.is_further { FURTHER * WORDS } else { self.ahead.len() };
        if self.at == count {
            let (sequence, first) = (self.sequence, self.block);
            let places: [Place; FURTHER] =
                std::array::from_fn(|i| Place { sequence, block: first + i as u64 });
            chacha::fill(self.key, &places, self.further);
            (self.is_further, self.at, self.block) = (true, 0, first + FURTHER as u64);
        }
        let words = if self.is_further { self.further.as_flattened() } else { self.ahead };
        &words[self.at..]
    }

    /// The next words.
    fn words<const N: usize>(&mut self) -> [u32; N] {
        if let Some(words) = self.rest().first_chunk() {
            let words = *words;
            self.at += N;
            return words;
        }
        std::array::from_fn(|_| {
            let word = self.rest()[0];
            self.at += 1;
            word
        })
    }

    /// 64 random bits.
    pub(crate) fn u64(&mut self) -> u64 {
        let [low, high] = self.words();
        u64::from(high) << 32 | u64::from(low)
    }

    /// Which of the next `count` numbers of 128 random bits, at most 64 of them, are below a limit: bit `i` speaks of the `i`-th.
    pub(crate) fn below(&mut self, limit: u128, count: usize) -> u64 {
        let (mut which, mut done) = (0, 0);
        while done < count {
            let there = self.rest().as_chunks().0;
            let there = &there[..there.len().min(count - done)];
            for (number, &words) in there.iter().enumerate() {
                which |= u64::from(number_of(words) < limit) << (done + number);
            }
            let read = there.len();
            self.at += 4 * read;
            done += read;
            if read == 0 {
                which |= u64::from(number_of(self.words()) < limit) << done;
                done += 1;
            }
        }
        which
    }

    /// Numbers of `width` random bits each.
    pub(crate) fn fill_bits(&mut self, width: u32, numbers: &mut [u64]) {
        let mask = (1 << width) - 1;
        if width > 32 {
            return numbers.iter_mut().for_each(|number| *number = self.u64() & mask);
        }
        let mut done = 0;
        while done < numbers.len() {
            let words = self.rest();
            let count = words.len().min(numbers.len() - done);
            for (number, word) in numbers[done..done + count].iter_mut().zip(words) {
                *number = u64::from(*word) & mask;
            }
            self.at += count;
            done += count;
        }
    }
}

/// The number of 128 bits that four words make: two of 64 bits, the higher one first.
fn number_of(words: [u32; 4]) -> u128 {
    let [b, a, d, c] = words.map(u128::from);
    a << 96 | b << 64 | c << 32 | d
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Stream, StreamKey};

    /// All words of a sequence.
    fn words(stream: &Stream, sequence: u64) -> impl Iterator<Item = u32> {
        let mut words = stream.words(sequence);
        std::iter::repeat_with(move || words.u64()).flat_map(|pair| [pair as u32, (pair >> 32) as u32])
    }

    fn wanted(words: &mut impl Iterator<Item = u32>, width: u32) -> u64 {
        let low = u64::from(words.next().unwrap());
        let both = if width > 32 { u64::from(words.next().unwrap()) << 32 | low } else { low };
        if width < 64 { both & ((1 << width) - 1) } else { both }
    }

    /// Reads of several kinds give the words of the sequence, however many were computed ahead.
    #[test]
    fn readers_give_the_words_of_their_sequences() {
        let stream = StreamKey { seed: 9, point: 0, trial: 4 }.tensor("w");
        let items: Vec<(u64, usize)> =
            (0..200).map(|i| (i * 977 + 1, [0, 1, 16, 17, 300, 512, 513, 5_000][i as usize % 8])).collect();
        let plan = |&(sequence, words): &(u64, usize)| Plan {
            own: Wanted { sequence, words },
            beside: Some(Wanted { sequence: sequence << 20, words: sequence as usize % 600 }),
        };
        let mut read = Vec::new();
        Ahead::default().read(
            &stream.key(),
            items.iter().copied(),
            plan,
            |(sequence, _), mut reader, beside| {
                let (mut own, mut numbers) = (words(&stream, sequence), [0; 70]);
                for (width, count) in
                    [(19, 1), (32, 70), (0, 3), (33, 70), (56, 2), (7, 64), (11, 0), (20, 69)]
                {
                    reader.fill_bits(width, &mut numbers[..count]);
                    let want: Vec<u64> = (0..count).map(|_| wanted(&mut own, width)).collect();
                    assert_eq!(numbers[..count], want, "{count} of {width} bits");
                    assert_eq!(reader.u64(), wanted(&mut own, 64));
                }
                let (mut other, mut beside) = (words(&stream, sequence << 20), beside.unwrap());
                for (count, odd) in [(64, true), (0, false), (1, true), (63, false), (64, false), (5, true)] {
                    if odd {
                        assert_eq!(beside.u64(), wanted(&mut other, 64));
                    }
                    let limit = u128::MAX / 3;
                    let number = |_| {
                        let (high, low) = (wanted(&mut other, 64), wanted(&mut other, 64));
                        u128::from(high) << 64 | u128::from(low)
                    };
                    let numbers: Vec<u128> = (0..count).map(number).collect();
                    let below = |which, number: &u128| which << 1 | u64::from(*number < limit);
                    assert_eq!(beside.below(limit, count), numbers.iter().rev().fold(0, below), "{count}");
                }
                assert_eq!(reader.u64(), wanted(&mut own, 64));
                read.push(sequence);
            },
        );
        assert_eq!(read, items.iter().map(|item| item.0).collect::<Vec<_>>());
    }
}
