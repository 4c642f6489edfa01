//! Faulty weights row by row: what a faulty weight reaches in the output of its node is computed directly from the row's input,
//! and spliced into the row's golden output. So every row can have weights of its own, and many trials share one run of the
//! rest of the network.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bitquake_bits::{Format, WordStore};
use bitquake_fault::FaultPattern;

use crate::chain::{ChainPlan, RowFaults, RowValues, Stop};
use crate::direct::{DirectNode, Operand, Scratch, Touched};
use crate::error::EngineError;
use crate::model::Model;

/// The nodes of a model whose faulty weights can be spliced: those that are links by themselves and that
/// [`DirectNode`] can compute.
#[derive(Clone, Debug)]
pub struct Splicer {
    nodes: Vec<Spliced>,
    /// Of each stored tensor that can be spliced wherever it is read: the places in `nodes`.
    readers: BTreeMap<String, Vec<usize>>,
}

#[derive(Clone, Debug)]
struct Spliced {
    direct: DirectNode,
    /// The boundary after the node.
    boundary: usize,
    input: String,
    output: String,
    /// The tensors that the node reads itself.
    tensors: BTreeSet<String>,
}

/// The spliced faults of one pattern: rows of one trial share them.
#[derive(Clone, Debug, Default)]
pub struct SplicedFaults {
    stops: Vec<Stop>,
    /// At each stop: the node, and what its faults touch.
    touched: Vec<(usize, Touched)>,
    /// Tensor, element and the bits that flip.
    words: Vec<(String, usize, u32)>,
}

/// Copies of stored tensors, in which the faults of one row after the other are.
#[derive(Debug)]
pub struct SpliceMemory {
    tensors: BTreeMap<String, Vec<f32>>,
    scratch: Scratch,
}

impl SpliceMemory {
    /// Copies what `splicer` can splice out of a model without faults.
    ///
    /// # Errors
    /// [`EngineError::Pattern`] when it is not the model that the splicer was made for.
    pub fn new(splicer: &Splicer, model: &Model) -> Result<Self, EngineError> {
        let names: BTreeSet<&String> = splicer.nodes.iter().flat_map(|node| &node.tensors).collect();
        let copy = |name: &String| Ok((name.clone(), values_of(model, name)?));
        let tensors = names.into_iter().map(copy).collect::<Result<_, EngineError>>()?;
        Ok(Self { tensors, scratch: Scratch::default() })
    }
}

impl Splicer {
    /// Looks which nodes of a model, cut as `plan` says, can be spliced.
    #[must_use]
    pub fn new(model: &Model, plan: &ChainPlan) -> Self {
        let links = (0..plan.links()).filter_map(|link| Some((link, spliced(model, plan, link)?)));
        let (links, nodes): (Vec<usize>, Vec<Spliced>) = links.unzip();
        let names: BTreeSet<String> = nodes.iter().flat_map(|node| node.tensors.iter().cloned()).collect();
        let readers = names.into_iter().filter_map(|tensor| {
            let place = |link: usize| {
                let place = links.iter().position(|&known| known == link)?;
                nodes[place].tensors.contains(&tensor).then_some(place)
            };
            let places: Option<Vec<usize>> = plan.links_of(&tensor).map(place).collect();
            Some((tensor.clone(), places?))
        });
        let readers = readers.collect();
        Self { nodes, readers }
    }

    /// How many stored tensors can be spliced.
    #[must_use]
    pub fn tensors(&self) -> usize {
        self.readers.len()
    }

    /// The faults of a pattern as changes of rows; none if one of its tensors cannot be spliced.
    ///
    /// # Errors
    /// [`EngineError::Direct`] for a pattern of another model.
    pub fn faults(&self, pattern: &FaultPattern) -> Result<Option<SplicedFaults>, EngineError> {
        let mut at: BTreeMap<usize, Touched> = BTreeMap::new();
        let mut faults = SplicedFaults::default();
        for flips in pattern.tensors() {
            let Some(readers) = self.readers.get(&flips.tensor).filter(|_| flips.format == Format::F32)
            else {
                return Ok(None);
            };
            let element = |address: &u64| address / 32;
            let words = flips.addresses.chunk_by(|a, b| element(a) == element(b));
            let mut elements = Vec::new();
            for word in words {
                let mask = word.iter().fold(0, |mask, address| mask | 1 << (address % 32));
                elements.push(element(&word[0]));
                faults.words.push((flips.tensor.clone(), element(&word[0]) as usize, mask));
            }
            for &node in readers {
                at.entry(node).or_default().join(self.nodes[node].direct.touched(&flips.tensor, &elements)?);
            }
        }
        // Links, and so their nodes, are in the order of the boundaries.
        for (node, touched) in at {
            faults.stops.push(Stop { boundary: self.nodes[node].boundary, looks_back: true });
            faults.touched.push((node, touched));
        }
        Ok(Some(faults))
    }
}

/// The node of a link, if it is one that can be spliced.
fn spliced(model: &Model, plan: &ChainPlan, link: usize) -> Option<Spliced> {
    let node = model.graph.nodes.get(plan.single_node(link)?)?;
    let tensors = RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        if let Some(stored) = model.graph.initializers.iter().find(|stored| stored.name == name) {
            let info = model.tensors().iter().find(|info| info.name == stored.tensor)?;
            if info.dtype.format() != Some(Format::F32) {
                return None;
            }
            tensors.borrow_mut().insert(info.name.clone());
            let dims = info.shape.iter().map(|&dim| dim as usize).collect();
            return Some(Operand::Stored { dims, tensor: info.name.clone() });
        }
        let value = plan.values().iter().find(|value| value.name == name)?;
        Some(Operand::Activation { dims: value.dims.iter().map(|&dim| dim as usize).collect() })
    };
    let direct = DirectNode::new(node, &lookup)?;
    let (input, output) = (node.inputs.get(direct.activation())?.clone(), node.outputs.first()?.clone());
    let boundary = link + 1;
    plan.alive(boundary).any(|value| value.name == output).then_some(())?;
    Some(Spliced { direct, boundary, input, output, tensors: tensors.into_inner() })
}

/// Rows with spliced faults.
pub struct SplicedRows<'s> {
    /// What can be spliced.
    pub splicer: &'s Splicer,
    /// The faults of each row.
    pub rows: Vec<&'s SplicedFaults>,
    /// The stored tensors, and room to work in.
    pub memory: &'s RefCell<SpliceMemory>,
}

impl RowFaults for SplicedRows<'_> {
    fn stops(&self, row: usize) -> &[Stop] {
        &self.rows[row].stops
    }

    fn apply(&self, row: usize, boundary: usize, values: &mut RowValues<'_>) -> Result<(), EngineError> {
        let faults = self.rows[row];
        let Some(at) = faults.stops.iter().position(|stop| stop.boundary == boundary) else { return Ok(()) };
        let (place, touched) = &faults.touched[at];
        let node = &self.splicer.nodes[*place];
        let mut memory = self.memory.borrow_mut();
        let SpliceMemory { tensors, scratch } = &mut *memory;
        // Faults are bits that flip: putting them in and taking them out is the same.
        let flip = |tensors: &mut BTreeMap<String, Vec<f32>>| {
            for (tensor, element, mask) in faults.words.iter().filter(|word| node.tensors.contains(&word.0)) {
                if let Some(word) = tensors.get_mut(tensor).and_then(|words| words.get_mut(*element)) {
                    *word = f32::from_bits(word.to_bits() ^ mask);
                }
            }
        };
        flip(tensors);
        let stored = |name: &str| tensors.get(name).map(|values| Cow::Borrowed(values.as_slice()));
        let done = match values.before_and_here(&node.input, &node.output) {
            Some((input, output)) => node.direct.recompute(touched, input, &stored, output, scratch),
            None => Ok(()),
        };
        flip(tensors);
        Ok(done?)
    }
}

fn values_of(model: &Model, tensor: &str) -> Result<Vec<f32>, EngineError> {
    let missing = || bitquake_fault::PatternError::NoTensor { tensor: tensor.to_owned() };
    let words = model.image().words(tensor).ok_or_else(missing)?;
    let bytes = words.packed_bytes().ok_or_else(missing)?;
    Ok(bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect())
}
