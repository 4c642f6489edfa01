//! Forward passes alone, of parameters that change one by one.

mod code;
mod cut;
mod linear;

use std::sync::{Arc, Mutex, PoisonError};

use super::operation::{Shape, Value};
use super::patched::Patched;
use super::run::inference::{Memory, Pass};
use super::tables::Numbers;
use super::{Program, plan};
use crate::{AlignedBuffer, Isa};
use code::{Code, User};
pub(super) use cut::joined;
pub(super) use linear::{TOGETHER, Together};

/// A program with parameters of its own, run forward on images; single elements of parameters can be changed at little cost.
///
/// An image's outputs are the same bits whatever images are run with it, on any number of threads, and whatever was changed and changed
/// back before. Batch normalizations use the running statistics of their parameters: as ONNX has it,
/// `x * (scale / sqrt(variance + epsilon)) + (shift - mean * (scale / sqrt(variance + epsilon)))`; nothing is folded into other parameters.
/// NaN and infinities go through all operations as IEEE 754 has it.
///
/// A copy shares what does not change, and has parameters of its own.
///
/// ```
/// use bitquake_kernels::Isa;
/// use bitquake_kernels::program::{Inference, Program, Shape};
///
/// // y = relu(w x), w of 1 row and 2 columns.
/// let mut program = Program::new(Shape::new(2, 1, 1), vec![2], Isa::best())?;
/// let product = program.linear(program.input(), 1, 0, true, None)?;
/// let y = program.relu(product);
/// let mut inference = Inference::new(&program, y, vec![vec![0.5, 2.0]]);
/// let images = [1.0, 1.0, -1.0, 3.0]; // two images
/// let mut outputs = [0.0; 2];
/// inference.forward(&images, &mut outputs, 1);
/// assert_eq!(outputs, [2.5, 5.5]);
/// inference.set(0, 1, f32::NEG_INFINITY);
/// inference.forward(&images, &mut outputs, 1);
/// assert_eq!(outputs, [0.0, 0.0]);
/// inference.set(0, 1, 2.0);
/// inference.forward(&images, &mut outputs, 1);
/// assert_eq!(outputs, [2.5, 5.5]);
/// # Ok::<(), bitquake_kernels::program::ProgramError>(())
/// ```
#[derive(Debug)]
pub struct Inference {
    code: Arc<Code>,
    /// Those that something else than layers reads; the others are empty.
    parameters: Vec<Vec<f32>>,
    numbers: Vec<Numbers>,
    /// Of each table whether a parameter has changed since its numbers were made.
    is_stale: Vec<bool>,
    /// Of each convolution the packed weights; the second of each pair is empty.
    packed: Vec<[AlignedBuffer; 2]>,
    /// Of each convolution the elements of its weights that were changed since what is derived from them was made.
    changed: Vec<Vec<usize>>,
    /// Of each fully connected layer the packed weights.
    linears: Vec<AlignedBuffer>,
    /// Of threads that do not run.
    memories: Mutex<Vec<Memory>>,
}

impl Inference {
    /// A program whose result is `output`, with the parameters of the program.
    ///
    /// # Panics
    /// When the value is not the program's, or a parameter has another length than the program says.
    #[must_use]
    pub fn new(program: &Program, output: Value, mut parameters: Vec<Vec<f32>>) -> Inference {
        let lengths = parameters.iter().map(Vec::len);
        assert!(lengths.eq(program.parameters.iter().copied()), "parameters of other lengths");
        let code = Code::new(program, output);
        let pack = |layer: &plan::PlannedLayer| {
            let mut packed = AlignedBuffer::zeroed(layer.convolution.forward_weights_len());
            layer.convolution.pack_forward(&parameters[layer.weight], &mut packed);
            [packed, AlignedBuffer::zeroed(0)]
        };
        let packed: Vec<_> = code.plan.layers.iter().map(pack).collect();
        let linears = code.linears.iter().map(|linear| linear.pack(&parameters[linear.weight])).collect();
        for (parameter, values) in parameters.iter_mut().enumerate() {
            if !code.is_read[parameter] {
                *values = Vec::new();
            }
        }
        let numbers: Vec<Numbers> = code.plan.tables.iter().map(Numbers::new).collect();
        let is_stale = vec![true; numbers.len()];
        Inference {
            code: Arc::new(code),
            parameters,
            numbers,
            is_stale,
            changed: vec![Vec::new(); packed.len()],
            packed,
            linears,
            memories: Mutex::default(),
        }
    }

    /// The instruction set that it computes with, on which the last bits of results depend.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.code.isa
    }

    /// The shape of an image.
    #[must_use]
    pub fn input_shape(&self) -> Shape {
        self.code.input
    }

    /// The shape of the output, for one image.
    #[must_use]
    pub fn output_shape(&self) -> Shape {
        self.code.plan.output
    }

    /// Gives an element of a parameter another value.
    ///
    /// # Panics
    /// When there is no such element.
    pub fn set(&mut self, parameter: usize, element: usize, value: f32) {
        let length = self.code.lengths[parameter];
        assert!(element < length, "element {element} of a parameter of {length}");
        if let Some(kept) = self.parameters[parameter].get_mut(element) {
            *kept = value;
        }
        for user in &self.code.users[parameter] {
            match *user {
                User::Layer(layer) => {
                    self.packed[layer][0][self.code.place_in_layer(layer, element)] = value;
                    self.changed[layer].push(element);
                }
                User::Linear(layer) => {
                    self.linears[layer][self.code.place_in_linear(layer, element)] = value;
                }
                User::Table(table) => self.is_stale[table] = true,
            }
        }
    }

    /// The outputs for some images, plain (`[images][channels][height][width]`), on up to so many threads of the current pool of rayon's; with
    /// one, on the caller's own.
    ///
    /// # Panics
    /// When `images` are not whole images, or `outputs` has not the length of their outputs.
    pub fn forward(&mut self, images: &[f32], outputs: &mut [f32], threads: usize) {
        let (image, output) = (self.code.input.elements(), self.code.plan.output.elements());
        let count = images.len() / image;
        assert!(
            count * image == images.len() && count * output == outputs.len(),
            "{} floats are not images of {image} with {} outputs of {output}",
            images.len(),
            outputs.len()
        );
        self.refresh();
        let together = self.code.together.min(count.div_ceil(threads.max(1))).max(1);
        let mut chunks = images.chunks(together * image).zip(outputs.chunks_mut(together * output));
        if threads <= 1 || count <= together {
            return self.work(&mut chunks);
        }
        let chunks = Mutex::new(chunks);
        let next = || chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
        rayon::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|_| self.work(&mut std::iter::from_fn(next)));
            }
        });
    }

    /// Runs chunks of images, in memory of this thread.
    fn work<'i>(&self, chunks: &mut dyn Iterator<Item = (&'i [f32], &'i mut [f32])>) {
        let memories = || self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = memories().pop().unwrap_or_default();
        let pass = Pass {
            plan: &self.code.plan,
            isa: self.code.isa,
            parameters: &self.parameters,
            numbers: &self.numbers,
            packed: &self.packed,
            linears: &self.code.linears,
            packed_linears: &self.linears,
            together: self.code.together,
        };
        for (images, outputs) in chunks {
            pass.run(&mut memory, images, outputs);
        }
        memories().push(memory);
    }

    /// Makes what is made of parameters that changed.
    fn refresh(&mut self) {
        let layers = self.code.plan.layers.iter().zip(&mut self.packed).zip(&mut self.changed);
        for ((layer, [packed, _]), changed) in layers.filter(|(_, changed)| !changed.is_empty()) {
            layer.convolution.repack_forward(changed, packed);
            changed.clear();
        }
        let tables = self.code.plan.tables.iter().zip(&mut self.numbers).zip(&mut self.is_stale);
        for ((table, numbers), is_stale) in tables {
            if std::mem::take(is_stale) {
                numbers.prepare(table, Patched::plain(&self.parameters));
            }
        }
    }
}

impl Clone for Inference {
    fn clone(&self) -> Inference {
        let numbers: Vec<Numbers> = self.code.plan.tables.iter().map(Numbers::new).collect();
        Inference {
            code: Arc::clone(&self.code),
            parameters: self.parameters.clone(),
            is_stale: vec![true; numbers.len()],
            numbers,
            changed: self.changed.clone(),
            packed: self.packed.clone(),
            linears: self.linears.clone(),
            memories: Mutex::default(),
        }
    }
}
