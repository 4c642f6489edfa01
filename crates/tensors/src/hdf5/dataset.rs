//! What a header says about a dataset.

use std::ops::Range;

use bitquake_bits::{Format, Layout};

use super::chunks::{ChunkProblem, Grid, Places};
use super::datatype::{self, Element, Kind};
use super::file::File;
use super::header::{Header, Message, kind};
use super::layout::{self, Chunked, Index, Stored};
use super::{Hdf5Error, Overlaps, dataspace, filters};
use crate::info::element_count;

/// A dataset of the file.
#[derive(Debug)]
pub(crate) struct Dataset {
    /// The names of the groups and its own, joined by `/`.
    pub(crate) name: String,
    /// One dimension of 0 for a dataset that has no shape because it has no elements.
    pub(crate) shape: Vec<u64>,
    /// The name of the type.
    pub(crate) dtype: String,
    pub(crate) data: Data,
}

/// Where the words are.
#[derive(Debug)]
pub(crate) enum Data {
    /// In these bytes of the file.
    Words { format: Format, layout: Layout, range: Range<usize> },
    /// Not read, for this reason; empty if the type is no number.
    Unread(String),
}

/// Describes the dataset of a header; `None` if the object is none.
///
/// Its data are added to `overlaps` under `number`.
pub(crate) fn read(
    file: &File<'_>,
    header: &Header,
    (name, number): (String, usize),
    overlaps: &mut Overlaps,
) -> Result<Option<Dataset>, Hdf5Error> {
    let (Some(space), Some(kind)) = (header.one(kind::DATASPACE)?, header.one(kind::DATATYPE)?) else {
        return Ok(None);
    };
    let shape = match space.is_shared {
        false => dataspace::read(file.cursor(space.body.clone(), "the dataspace"))?,
        true => return Ok(Some(unknown(name, "a shared dataspace"))),
    };
    let Some(element) = element(file, kind)? else {
        return Ok(Some(unknown(name, "a type in a shared table")));
    };
    let mut reader = Reader { file, header, element: &element, shape: shape.as_deref(), number, overlaps };
    let data = match reader.data() {
        Ok(data) => data,
        // What another version of the format says is no fault of the other datasets.
        Err(ChunkProblem::File(error @ Hdf5Error::Unsupported { .. })) => Data::Unread(error.to_string()),
        Err(ChunkProblem::File(error)) => return Err(error.of(&name)),
        Err(ChunkProblem::Unread(why)) => Data::Unread(why),
    };
    Ok(Some(Dataset { name, shape: shape.unwrap_or_else(|| vec![0]), dtype: element.name(), data }))
}

fn unknown(name: String, why: &str) -> Dataset {
    Dataset { name, shape: Vec::new(), dtype: "unknown".to_owned(), data: Data::Unread(why.to_owned()) }
}

/// The type, which may be that of a named type elsewhere; `None` if it is in the file's table of shared messages.
fn element(file: &File<'_>, message: &Message) -> Result<Option<Element>, Hdf5Error> {
    const WHAT: &str = "the datatype";
    let own = file.cursor(message.body.clone(), WHAT);
    if !message.is_shared {
        return datatype::read(own).map(Some);
    }
    let mut place = own;
    let version = place.u8()?;
    let table = place.u8()?;
    match version {
        1 => place.skip(6)?,
        2 => {}
        _ if table == 1 => return Ok(None),
        _ => {}
    }
    let Some(address) = place.address()? else { return Ok(None) };
    let header = Header::read(file, address)?;
    match header.one(kind::DATATYPE)? {
        Some(message) if !message.is_shared => {
            datatype::read(file.cursor(message.body.clone(), WHAT)).map(Some)
        }
        _ => Ok(None),
    }
}

impl Element {
    fn name(&self) -> String {
        match self.kind {
            Kind::Number { format, .. } => format.name(),
            Kind::Other(name) => name.to_owned(),
        }
    }
}

impl Hdf5Error {
    /// The same about a dataset.
    fn of(self, dataset: &str) -> Hdf5Error {
        match self {
            Hdf5Error::Truncated { what, at, needed, left } if what == DATA => Hdf5Error::Dataset {
                dataset: dataset.to_owned(),
                why: format!("its data at byte {at} take {needed} bytes, {left} left"),
            },
            other => other,
        }
    }
}

/// What an error calls the data of a dataset.
const DATA: &str = "the data";

/// Why text and the like are not read; their type's name says it already.
const NO_NUMBER: &str = "";

struct Reader<'a, 'b> {
    file: &'b File<'a>,
    header: &'b Header,
    element: &'b Element,
    shape: Option<&'b [u64]>,
    /// The number under which the places of data are noted.
    number: usize,
    overlaps: &'b mut Overlaps,
}

fn unread<T>(why: impl Into<String>) -> Result<T, ChunkProblem> {
    Err(ChunkProblem::Unread(why.into()))
}

impl Reader<'_, '_> {
    fn data(&mut self) -> Result<Data, ChunkProblem> {
        let Some((format, layout)) = self.element.layout() else { return unread(NO_NUMBER) };
        if self.shape.is_none() {
            return unread("without elements");
        }
        let Some(message) = self.header.one(kind::LAYOUT)? else { return unread("without a layout") };
        let Some(size) = self.size() else { return unread("of more bytes than there are numbers") };
        self.check_filters()?;
        let stored = layout::read(self.file.cursor(message.body.clone(), "the layout"))?;
        if size == 0 {
            return Ok(Data::Words { format, layout, range: 0..0 });
        }
        if self.header.one(kind::EXTERNAL_FILES)?.is_some() {
            return unread("in another file");
        }
        let (range, layout) = match stored {
            Stored::Compact(range) => (self.compact(message, range, size)?, layout),
            Stored::Contiguous(None) => return unread("never written"),
            Stored::Contiguous(Some(address)) => {
                let range = self.file.place(address, size, DATA)?;
                self.overlaps.add_data(range.clone(), self.number);
                (range, layout)
            }
            Stored::Virtual => return unread("in other datasets"),
            Stored::Chunked(chunked) => self.chunks(&chunked, layout)?,
        };
        Ok(Data::Words { format, layout, range })
    }

    /// The bytes of all elements.
    fn size(&self) -> Option<u64> {
        self.shape.map_or(Some(0), element_count)?.checked_mul(self.element.size)
    }

    fn check_filters(&self) -> Result<(), ChunkProblem> {
        let Some(message) = self.header.one(kind::FILTERS)? else { return Ok(()) };
        let filters = filters::read(self.file.cursor(message.body.clone(), "the filters"))?;
        match filters.is_empty() {
            true => Ok(()),
            false => unread(format!("filtered by {}", filters::describe(&filters))),
        }
    }

    fn compact(
        &mut self,
        message: &Message,
        range: Range<usize>,
        size: u64,
    ) -> Result<Range<usize>, ChunkProblem> {
        if message.is_checked {
            return unread("in a header with a checksum");
        }
        if (range.len() as u64) < size {
            return unread(format!("of {size} bytes, {} of them stored", range.len()));
        }
        let range = range.start..range.start + size as usize;
        self.overlaps.add_inline(range.clone(), self.number);
        Ok(range)
    }

    fn chunks(&mut self, chunked: &Chunked, layout: Layout) -> Result<(Range<usize>, Layout), ChunkProblem> {
        let grid = Grid::new(self.shape.unwrap_or_default(), chunked);
        let Some(grid) = grid.filter(|_| chunked.element_size == self.element.size) else {
            return unread("in chunks of another shape or type");
        };
        if matches!(chunked.index, Index::Single { filtered: Some(_), .. }) || chunked.has_plain_edges {
            return unread("in chunks that are said to be filtered");
        }
        let places = Places::find(self.file, &grid, chunked.index)?;
        places.ranges(&grid).for_each(|range| self.overlaps.add_data(range, self.number));
        places.strided(&grid, layout).map_or_else(|| unread("in irregular chunks"), Ok)
    }
}
