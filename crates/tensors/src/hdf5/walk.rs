//! All datasets of a file, group by group.

use std::collections::HashSet;

use super::dataset::{self, Dataset};
use super::file::File;
use super::group;
use super::header::Header;
use super::{Hdf5Error, Overlaps};

/// Groups nested deeper are not followed.
const DEEPEST: usize = 64;

/// An object still to be read.
struct Pending {
    address: u64,
    path: String,
    depth: usize,
}

/// The datasets of a file, by path. Their data are within the file and lie over nothing else.
pub(crate) fn datasets(bytes: &[u8]) -> Result<Vec<Dataset>, Hdf5Error> {
    let file = File::new(bytes)?;
    let mut datasets: Vec<Dataset> = Vec::new();
    let mut data = Overlaps::new();
    let mut seen = HashSet::new();
    let mut rest = vec![Pending { address: file.superblock.root, path: String::new(), depth: 0 }];
    while let Some(object) = rest.pop() {
        if !seen.insert(object.address) {
            continue; // another hard link
        }
        let header = Header::read(&file, object.address)?;
        match group::links(&file, &header)? {
            Some(links) => push_links(&file, &object, links, &mut rest)?,
            None => {
                let label = (object.path, datasets.len());
                datasets.extend(dataset::read(&file, &header, label, &mut data)?);
            }
        }
    }
    let mut places = file.into_blocks();
    places.append(data);
    places.check(|number| datasets[number].name.as_str())?;
    Ok(datasets)
}

fn push_links(
    file: &File<'_>,
    group: &Pending,
    links: Vec<group::Link>,
    rest: &mut Vec<Pending>,
) -> Result<(), Hdf5Error> {
    let depth = group.depth + 1;
    if depth > DEEPEST {
        return Err(Hdf5Error::TooDeep { what: "groups", limit: DEEPEST });
    }
    if let Some(pair) = links.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let why = format!("{:?} names two objects", pair[0].name);
        return Err(Hdf5Error::Malformed { what: "the group", at: file.at(group.address), why });
    }
    for link in links.into_iter().rev() {
        let path = if depth == 1 { link.name } else { format!("{}/{}", group.path, link.name) };
        file.spend(path.len() as u64)?;
        rest.push(Pending { address: link.address, path, depth });
    }
    Ok(())
}
