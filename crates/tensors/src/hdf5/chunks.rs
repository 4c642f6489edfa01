//! The chunks of a dataset: where each is, and where the words are in them.

use std::ops::Range;

use bitquake_bits::Layout;

use super::Hdf5Error;
use super::cursor::Cursor;
use super::file::File;
use super::layout::{Chunked, Index};
use super::tree::{self, Contents};

/// A dataset cut into a grid of chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// The dataset's dimensions.
    shape: Vec<u64>,
    /// A chunk's dimensions; as many.
    chunk: Vec<u64>,
    /// The bytes of an element.
    element: u64,
}

/// Where the stored bytes of each chunk are, by the chunk's place in the grid in C order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    starts: Vec<u64>,
}

/// Stands for a chunk that was never written.
const NOWHERE: u64 = u64::MAX;

/// Why chunks cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ChunkProblem {
    /// The file is wrong.
    File(Hdf5Error),
    /// The file may be right, but this dataset cannot be read.
    Unread(String),
}

impl From<Hdf5Error> for ChunkProblem {
    fn from(error: Hdf5Error) -> ChunkProblem {
        ChunkProblem::File(error)
    }
}

fn unread(why: impl Into<String>) -> ChunkProblem {
    ChunkProblem::Unread(why.into())
}

impl Grid {
    /// `None` if the dimensions do not fit each other.
    pub(crate) fn new(shape: &[u64], chunked: &Chunked) -> Option<Grid> {
        let fits = chunked.shape.len() == shape.len();
        fits.then(|| Grid {
            shape: shape.to_vec(),
            chunk: chunked.shape.clone(),
            element: chunked.element_size,
        })
    }

    /// The bytes of a chunk, unfiltered.
    pub(crate) fn chunk_bytes(&self) -> Option<u64> {
        self.chunk.iter().try_fold(self.element, |bytes, &dim| bytes.checked_mul(dim))
    }

    /// Chunks along each dimension.
    fn counts(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator + '_ {
        self.shape.iter().zip(&self.chunk).map(|(dim, chunk)| dim.div_ceil(*chunk))
    }

    fn chunks(&self) -> Option<u64> {
        self.counts().try_fold(1_u64, |all, count| all.checked_mul(count))
    }

    /// The place in the grid of the chunk whose first element is at `origin`.
    fn number(&self, origin: &[u64]) -> Option<u64> {
        let mut number = 0;
        for (((&at, &dim), &chunk), count) in
            origin.iter().zip(&self.shape).zip(&self.chunk).zip(self.counts())
        {
            if at >= dim || at % chunk != 0 {
                return None;
            }
            number = number * count + at / chunk; // below the number of chunks, which fits
        }
        Some(number)
    }

    /// The numbers in the grid of a chunk's neighbours: how far apart they are along each dimension.
    fn steps(&self) -> Vec<u64> {
        let mut step = 1;
        let mut steps: Vec<u64> = Vec::with_capacity(self.chunk.len());
        for count in self.counts().rev() {
            steps.push(step);
            step *= count; // at most the number of chunks, which fits
        }
        steps.reverse();
        steps
    }
}

impl Places {
    /// Finds every chunk of an unfiltered dataset. They are all within the file.
    pub(crate) fn find(file: &File<'_>, grid: &Grid, index: Index) -> Result<Places, ChunkProblem> {
        let size = grid.chunk_bytes().ok_or_else(|| unread("chunks of more bytes than there are numbers"))?;
        let count = grid.chunks().ok_or_else(|| unread("more chunks than there are numbers"))?;
        let room = file.bytes.len() as u64;
        if count.checked_mul(size).is_none_or(|bytes| bytes > room) {
            return Err(unread(format!("some of its {count} chunks were never written")));
        }
        file.spend(count.saturating_mul(size_of::<u64>() as u64))?;
        let mut places = Places { starts: vec![NOWHERE; count as usize] };
        places.fill(file, grid, index, size)?;
        match places.starts.contains(&NOWHERE) {
            true => Err(unread("some chunks were never written")),
            false => Ok(places),
        }
    }

    fn fill(&mut self, file: &File<'_>, grid: &Grid, index: Index, size: u64) -> Result<(), ChunkProblem> {
        match index {
            Index::Nothing => Err(unread("it was never written")),
            Index::Unsupported(index) => Err(unread(format!("its chunks are listed in {index}"))),
            Index::Tree(root) => Ok(self.fill_from_tree(file, grid, root, size)?),
            Index::Single { address, .. } => Ok(self.put(file, 0, address, size)?),
            Index::Implicit(address) => {
                for number in 0..self.starts.len() {
                    self.put(file, number, address.saturating_add(number as u64 * size), size)?;
                }
                Ok(())
            }
            Index::FixedArray(address) => self.fill_from_array(file, address, size),
        }
    }

    fn put(&mut self, file: &File<'_>, number: usize, address: u64, size: u64) -> Result<(), Hdf5Error> {
        let place = file.place(address, size, "a chunk")?;
        match self.starts.get_mut(number) {
            Some(start) if *start == NOWHERE => {
                *start = place.start as u64;
                Ok(())
            }
            Some(_) => Err(bad_chunk(file.at(address), "its place in the grid is taken")),
            None => Err(bad_chunk(file.at(address), "it is outside the grid")),
        }
    }

    fn fill_from_tree(
        &mut self,
        file: &File<'_>,
        grid: &Grid,
        root: u64,
        size: u64,
    ) -> Result<(), Hdf5Error> {
        let rank = grid.shape.len();
        tree::walk(file, root, Contents::Chunks { rank }, |mut key, address| {
            let stored = u64::from(key.u32()?);
            key.skip(4)?; // which filters were left out
            let origin = (0..rank).map(|_| key.number(8)).collect::<Result<Vec<u64>, _>>()?;
            if stored != size {
                return Err(bad_chunk(file.at(address), &format!("it has {stored} bytes, not {size}")));
            }
            // Shrinking a dataset may leave chunks behind that are wholly outside.
            match grid.number(&origin) {
                Some(number) => self.put(file, number as usize, address, size),
                None => Ok(()),
            }
        })
    }

    fn fill_from_array(&mut self, file: &File<'_>, address: u64, size: u64) -> Result<(), ChunkProblem> {
        const WHAT: &str = "a fixed array";
        let sizes = file.sizes();
        let mut head = file.checked(address, (12 + sizes.length + sizes.address) as u64, WHAT)?;
        let at = head.position() as u64;
        head.signature(b"FAHD")?;
        head.version(0, "the version of a fixed array")?;
        head.version(0, "the client of a fixed array")?;
        let (entry, page_bits) = (head.u8()?, head.u8()?);
        let (count, block) = (head.length()?, head.address()?);
        if usize::from(entry) != sizes.address {
            let why = format!("entries of {entry} bytes");
            return Err(Hdf5Error::Malformed { what: WHAT, at, why }.into());
        }
        if count != self.starts.len() as u64 {
            return Err(unread(format!(
                "its list has room for {count} chunks, its grid has {}",
                self.starts.len()
            )));
        }
        let block = block.ok_or_else(|| unread("it was never written"))?;
        Ok(self.fill_from_block(file, block, (count, page_bits), size)?)
    }

    /// The data block of a fixed array: the addresses, or pages of them, each page with a checksum.
    fn fill_from_block(
        &mut self,
        file: &File<'_>,
        address: u64,
        (count, page_bits): (u64, u8),
        size: u64,
    ) -> Result<(), Hdf5Error> {
        const WHAT: &str = "the data block of a fixed array";
        let width = file.sizes().address as u64;
        let head = 6 + width;
        let page = 1_u64.checked_shl(page_bits.into()).unwrap_or(u64::MAX);
        let is_paged = count > page;
        let own = match is_paged {
            false => count * width,
            true => count.div_ceil(page).div_ceil(8), // a bit for each page
        };
        let mut block = file.checked(address, head + own + 4, WHAT)?;
        block.signature(b"FADB")?;
        block.version(0, "the version of a fixed array's data")?;
        block.version(0, "the client of a fixed array's data")?;
        block.skip(width as usize)?; // the address of the header
        if !is_paged {
            return self.fill_from_entries(file, &mut block, 0, size);
        }
        let written = block.take(own as usize)?;
        let mut next = address.saturating_add(head + own + 4);
        for number in 0..count.div_ceil(page) {
            let entries = page.min(count - number * page);
            // A page that was never written has its place all the same.
            if written[(number / 8) as usize] & 0x80 >> (number % 8) != 0 {
                let mut content = file.checked(next, entries * width + 4, "a page of a fixed array")?;
                self.fill_from_entries(file, &mut content, (number * page) as usize, size)?;
            }
            next = next.saturating_add(entries * width + 4);
        }
        Ok(())
    }

    fn fill_from_entries(
        &mut self,
        file: &File<'_>,
        entries: &mut Cursor<'_>,
        first: usize,
        size: u64,
    ) -> Result<(), Hdf5Error> {
        let mut number = first;
        while entries.left() > 0 {
            if let Some(address) = entries.address()? {
                self.put(file, number, address, size)?;
            }
            number += 1;
        }
        Ok(())
    }

    /// The places of the chunks.
    pub(crate) fn ranges(&self, grid: &Grid) -> impl Iterator<Item = Range<usize>> + '_ {
        let size = grid.chunk_bytes().unwrap_or(0);
        self.starts.iter().map(move |&start| start as usize..(start + size) as usize)
    }

    /// Where the words lie in the file, if that can be told by strides: the bytes from the first chunk to the last, and the
    /// layout of the words in them.
    ///
    /// The chunks must lie at regular distances, as they do when a dataset was written at once, and must divide all
    /// dimensions but the first. Element (i, j) is then element (i / a, i % a, j / b, j % b) of a view, for chunks of a x b.
    pub(crate) fn strided(&self, grid: &Grid, words: Layout) -> Option<(Range<usize>, Layout)> {
        let divides =
            grid.shape.iter().zip(&grid.chunk).skip(1).all(|(dim, chunk)| dim.is_multiple_of(*chunk));
        let first = *self.starts.first()?;
        let distances = self.distances(grid, first)?;
        if !divides || !self.is_regular(grid, first, &distances) {
            return None;
        }
        let (mut shape, mut strides) = (Vec::new(), Vec::new());
        let mut within = grid.chunk.iter().product::<u64>();
        for ((count, &chunk), distance) in grid.counts().zip(&grid.chunk).zip(distances) {
            within /= chunk;
            shape.extend([count, chunk]);
            strides.extend([distance, within]);
        }
        let layout = words.strided(&shape, &strides, 0)?;
        let end = self.ranges(grid).map(|range| range.end).max()?;
        Some((first as usize..end, layout))
    }

    /// From one chunk to the next along each dimension, in elements.
    fn distances(&self, grid: &Grid, first: u64) -> Option<Vec<u64>> {
        let distance = |(step, count): (u64, u64)| {
            if count < 2 {
                return Some(0);
            }
            let bytes = self.starts.get(step as usize)?.checked_sub(first)?;
            bytes.is_multiple_of(grid.element).then_some(bytes / grid.element)
        };
        grid.steps().into_iter().zip(grid.counts()).map(distance).collect()
    }

    fn is_regular(&self, grid: &Grid, first: u64, distances: &[u64]) -> bool {
        let steps = grid.steps();
        self.starts.iter().enumerate().all(|(number, &start)| {
            let mut rest = number as u64;
            let mut expected = first;
            for (step, distance) in steps.iter().zip(distances) {
                expected = expected.saturating_add((rest / step).saturating_mul(distance * grid.element));
                rest %= step;
            }
            start == expected
        })
    }
}

fn bad_chunk(at: u64, why: &str) -> Hdf5Error {
    Hdf5Error::Malformed { what: "a chunk", at, why: why.to_owned() }
}
